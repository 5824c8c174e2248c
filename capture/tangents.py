"""Tangents: zero gradients for the outputs of a region that the script did not use.

For an output that nobody used (the logits beside a loss) autograd hands the backward zeros of its
full size. Instead, torch is asked not to make them, and a single zero, expanded, takes their place
where the backward only adds it to something: the same sum, bit for bit, without the bytes.
"""

from __future__ import annotations

import sys
from collections.abc import MutableSequence, Sequence
from types import FrameType
from typing import Any

import torch
from torch import fx
from torch.autograd.function import BackwardCFunction

from fastsa.capture.joint_graph import is_tangent

_VIEWS = frozenset(
    f"aten.{name}"
    for name in (
        "view.default", "t.default", "transpose.int", "permute.default", "unsqueeze.default",
        "squeeze.dim", "squeeze.default", "alias.default", "detach.default",
    )
)  # fmt: skip
_NEAR = 12  # frames between a region's forward and the autograd function that runs it


def tangent(
    given: torch.Tensor | None,
    shape: Sequence[int],
    stride: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
    only_added: bool,
) -> torch.Tensor:
    """The gradient of an output, or zeros if there is none. Called by compiled backwards."""
    if given is not None:
        return given
    if only_added:
        return torch.zeros((), dtype=dtype, device=device).expand(shape)
    return torch.empty_strided(shape, stride, dtype=dtype, device=device).zero_()


class Tangents:
    """How to make the gradients of outputs that are missing: arguments of `tangent`, in order.

    They are in the backward's graph too, so that they survive torch's cache of compiled graphs.
    """

    def __init__(self, made_from: Sequence[tuple[Any, ...]]) -> None:
        self._made_from = made_from

    @classmethod
    def of(cls, backward: fx.GraphModule) -> Tangents | None:
        """Those that are written down in the graph of a backward."""
        calls = backward.graph.find_nodes(op="call_function", target=tangent)
        return cls([node.args[1:] for node in calls]) if calls else None

    def may_be_missing(self) -> None:
        """Ask torch for None in place of zeros; to be called inside of the region's forward."""
        context = _context()
        if context is not None and not torch._dynamo.config.compiled_autograd:
            context.set_materialize_grads(False)

    def fill(self, arguments: MutableSequence[Any]) -> None:
        """Put zeros where a tangent is missing; they are the last of the backward's arguments."""
        first = len(arguments) - len(self._made_from)
        for i, made_from in enumerate(self._made_from, first):
            if arguments[i] is None:
                arguments[i] = tangent(None, *made_from)


def write_down(joint: fx.GraphModule, backward: fx.GraphModule) -> Tangents | None:
    """Make a partitioned backward one that takes None for tangents; None if it has to have them."""
    joint_nodes = [node for node in joint.graph.find_nodes(op="placeholder") if is_tangent(node)]
    nodes = [node for node in backward.graph.find_nodes(op="placeholder") if is_tangent(node)]
    if len(nodes) != len(joint_nodes) or not all(_is_static(n.meta["val"]) for n in joint_nodes):
        return None
    last = list(backward.graph.find_nodes(op="placeholder"))[-1]
    for node, joint_node in zip(reversed(nodes), reversed(joint_nodes), strict=True):
        fake = joint_node.meta["val"]
        with backward.graph.inserting_after(last):
            made_from = (tuple(fake.shape), fake.stride(), fake.dtype, fake.device)
            call = backward.graph.call_function(
                tangent, (node, *made_from, _is_only_added(joint_node))
            )
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call, delete_user_cb=lambda user, call=call: user is not call)
    backward.recompile()
    return Tangents.of(backward)


def _is_static(fake: Any) -> bool:
    return isinstance(fake, torch.Tensor) and all(
        isinstance(size, int) for size in (*fake.shape, *fake.stride())
    )


def _is_only_added(node: fx.Node) -> bool:
    """Whether all that happens to a tensor is that it is added to others of its own layout."""
    return all(
        _is_only_added(user) if str(user.target) in _VIEWS else _adds_alike(user, node)
        for user in node.users
    )


def _adds_alike(user: fx.Node, node: fx.Node) -> bool:
    if str(user.target) != "aten.add.Tensor" or user.kwargs:
        return False
    # The layout of a sum is that of its operands: a zero without strides must not change it.
    mine, *others = (
        a.meta["val"] if isinstance(a, fx.Node) else None
        for a in (node, *(a for a in user.args if a is not node))
    )
    return len(others) == 1 and _is_alike(mine, others[0])


def _is_alike(left: Any, right: Any) -> bool:
    return (
        isinstance(left, torch.Tensor)
        and isinstance(right, torch.Tensor)
        and left.shape == right.shape
        and left.stride() == right.stride()
        and left.dtype == right.dtype
    )


def _context() -> Any:
    """The context of the autograd function whose forward is running."""
    # Not from this frame on: one whose locals are read and hold it would keep all above it alive.
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_NEAR):
        if frame is None:
            break
        context = frame.f_locals.get("ctx")
        if isinstance(context, BackwardCFunction):
            return context
        frame = frame.f_back
    return None
