"""A model that is compiled in place, and what is left of a failure to compile it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import torch
from torch import nn

from fastsa.capture.in_place import compile_in_place, restore_module


def fails(*arguments: Any) -> Any:
    raise RuntimeError("on purpose")


def called(rows: int) -> weakref.ref[torch.Tensor]:
    """Call a model that cannot be compiled on a batch that nobody keeps."""
    model, batch = nn.Sequential(nn.Linear(4, 4)), torch.ones(rows, 4)
    out = compile_in_place(model, fails, lambda: model(batch), lambda error, call: call())
    assert out.shape == (rows, 4)
    restore_module(model)
    return weakref.ref(batch)


def test_a_failure_keeps_no_batch_alive() -> None:
    called(2)  # what torch keeps of the first failure is not of this one
    gc.collect()
    gc.disable()
    try:
        assert called(3)() is None
    finally:
        gc.enable()
