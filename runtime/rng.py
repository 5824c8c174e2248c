"""Replay of random ops: the first run saves the generator's state, each repeat runs from it.

Source: torch._prims.rng_prims (`run_and_save_rng_state`, `run_with_rng_state`). Without this a
recomputed dropout draws a fresh mask and the gradients are silently wrong.
"""

from __future__ import annotations

import operator
from copy import copy
from typing import cast

import torch
from torch import fx
from torch._prims.rng_prims import run_and_save_rng_state, run_with_rng_state
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.node import Argument

from fastsa.capture.joint_graph import tensors
from fastsa.errors import CaptureFailed


def first_run(graph: fx.Graph, copied: fx.Node) -> tuple[fx.Node, fx.Node]:
    """Replace a random call by one that also yields the state it ran from: (result, state)."""
    original = copied.meta
    call = graph.call_function(
        run_and_save_rng_state, (cast(Argument, copied.target), *copied.args), copied.kwargs
    )
    fake = _fake_state(copied)
    call.meta = {**original, "val": (fake, original["val"])}
    state = graph.call_function(operator.getitem, (call, 0))
    state.meta = {**_tag(original), "val": fake}
    result = graph.call_function(operator.getitem, (call, 1))
    result.meta = copy(original)
    graph.erase_node(copied)
    return result, state


def repeat(graph: fx.Graph, copied: fx.Node, state: fx.Node) -> fx.Node:
    """Replace a random call by one that runs from a saved state."""
    args = (state, cast(Argument, copied.target), *copied.args)
    call = graph.call_function(run_with_rng_state, args, copied.kwargs)
    call.meta = copy(copied.meta)
    graph.erase_node(copied)
    return call


def _tag(meta: dict[str, object]) -> dict[str, object]:
    return {key: meta[key] for key in ("partitioner_tag",) if key in meta}


def _fake_state(node: fx.Node) -> torch.Tensor:
    sample = tensors(node)[0]
    if not isinstance(sample, FakeTensor):
        raise CaptureFailed(
            f"random op {node.target} was not traced with fake tensors",
            hint="the region runs unplanned",
        )
    if sample.device.type == "cuda":
        shape = torch.Size([16])
    else:
        shape = torch.get_rng_state().shape
    with sample.fake_mode:
        return torch.empty(shape, dtype=torch.uint8)
