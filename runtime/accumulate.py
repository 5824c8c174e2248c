"""Accumulate: a planned backward adds a gradient into `.grad` right where it is made.

A compiled backward returns all gradients at its end, a second set of them beside those of earlier
micro-batches. A planned one has a call of `accumulate` behind each: what has been added is freed
at once. The engine gets None for it, which it passes over.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx

from fastsa.capture.accumulation import Accumulation


class _Running(threading.local):
    targets: dict[int, Tensor] = {}  # noqa: RUF012  never changed in place


_running = _Running()


def begin(accumulation: Accumulation, arguments: Sequence[Any]) -> frozenset[int]:
    """A planned backward begins in this thread; the positions of gradients it will add itself."""
    _running.targets = {}  # of a backward that has failed
    with torch._C.DisableTorchFunction():  # the program's own modes are not to see it
        _running.targets = accumulation.targets(arguments)
    if any(target.is_cuda for target in _running.targets.values()):
        _wait_at_end(torch.cuda.current_stream())
    return frozenset(_running.targets)


def written_in(backward: fx.GraphModule) -> Accumulation | None:
    """What the calls of `accumulate` in a backward's graph say; None if there are none.

    The graph alone survives torch's cache of compiled graphs.
    """
    calls = backward.graph.find_nodes(op="call_function", target=accumulate)
    leaves = {cast(int, node.args[1]): cast(int, node.args[2]) for node in calls}
    return Accumulation(cast(int, calls[0].args[3]), leaves) if calls else None


def end() -> None:
    """It has run."""
    _running.targets = {}


def accumulate(gradient: Tensor, position: int, leaf: int, inputs: int) -> Tensor | None:
    """Add a gradient into its leaf's `.grad`, if it is one that can be; else return it.

    It is the gradient at `position`, of tensor `leaf` of so many `inputs` of the forward.

    As torch does it (torch/csrc/autograd/functions/accumulate_grad.h, accumulateGrad): in place.
    """
    target = _running.targets.get(position)
    if target is None or not _fits(gradient, target):
        return gradient
    torch.ops.aten.add_.Tensor(target, gradient)
    return None


def _fits(gradient: Tensor, target: Tensor) -> bool:
    return (
        type(gradient) is Tensor
        and gradient.layout is torch.strided
        and gradient.dtype == target.dtype
        and gradient.device == target.device
        and gradient.shape == target.shape
    )


def _wait_at_end(stream: torch.cuda.Stream) -> None:
    """Make the stream that called the backward wait, as the engine does for its own leaves."""

    def wait() -> None:
        current = torch.cuda.current_stream(stream.device)
        if current != stream:
            current.wait_stream(stream)

    torch.autograd.Variable._execution_engine.queue_callback(wait)
