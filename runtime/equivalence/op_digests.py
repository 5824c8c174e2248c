"""Op digests: what every op of a region yields, as digests, with and without a plan.

A region's modules get a call behind each op that creates something; the op's name in the joint
graph stays with all its copies, so that each can be held against the op's run without a plan.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._prims.rng_prims import run_and_save_rng_state

from fastsa.capture.joint_graph import is_folded
from fastsa.capture.region import Modules, Region
from fastsa.capture.source import module_path, source_line
from fastsa.runtime.equivalence.digest import digest
from fastsa.runtime.equivalence.trace import ObservedOp, OpPlace

NAME = "fastsa_op_name"
"""Node metadata: the op's name in the joint graph."""

UNWRITTEN = frozenset(
    getattr(torch.ops.aten, name)
    for name in ("empty", "empty_like", "empty_strided", "empty_permuted", "new_empty",
                 "new_empty_strided")
)  # fmt: skip
"""What these yield is whatever was in that memory."""


class OpDigests:
    """Collects, while `step` yields a number, what the ops of all watched regions yield."""

    def __init__(self, step: Callable[[], int | None]) -> None:
        self.step = step
        self.places: list[OpPlace] = []
        self.runs: list[ObservedOp] = []
        self._regions = 0

    def watched(self, region: Region) -> Region:
        """`region`, with its ops watched."""
        self._regions += 1
        return _WatchedRegion(region, self, self._regions - 1)

    def place(self, region: int, node: fx.Node) -> int:
        """The number of an op."""
        where = (module_path(node), source_line(node))
        op = node
        while op.target is operator.getitem and isinstance(op.args[0], fx.Node):
            op = op.args[0]
        self.places.append(OpPlace(region, node.name, str(op.target), *where))
        return len(self.places) - 1

    def note(self, place: int, value: object) -> None:
        """An op has run."""
        step = self.step()
        if step is not None and isinstance(value, Tensor):
            self.runs.append(ObservedOp(step, place, digest(value)))

    def __deepcopy__(self, memo: object) -> OpDigests:
        return self  # torch copies graphs; what they tell is told here


class _WatchedRegion(Region):
    def __init__(self, region: Region, digests: OpDigests, number: int) -> None:
        self.region = region
        self.digests = digests
        self.number = number

    def partition(self, joint: fx.GraphModule, num_fwd_outputs: int) -> Modules:
        """The region's own modules, with a call behind each op."""
        for node in joint.graph.nodes:
            if _is_compared(node):
                node.meta[NAME] = self.digests.place(self.number, node)
        modules = self.region.partition(joint, num_fwd_outputs)
        for module in modules:
            _watch(module, self.digests)
        return modules

    def forward_begins(self, arguments: Sequence[Any]) -> None:
        """Tell the region."""
        self.region.forward_begins(arguments)

    def forward_ended(self, outputs: Sequence[Any]) -> None:
        """Tell the region."""
        self.region.forward_ended(outputs)

    def backward_begins(self, arguments: Sequence[Any]) -> None:
        """Tell the region."""
        self.region.backward_begins(arguments)

    def backward_ended(self, gradients: Sequence[Any]) -> None:
        """Tell the region."""
        self.region.backward_ended(gradients)


class _Note(nn.Module):
    """A call in a graph that tells of the value it is given."""

    _is_impure = True  # for torch.fx: not to be taken out for want of users

    def __init__(self, digests: OpDigests) -> None:
        super().__init__()
        self._digests = digests

    def forward(self, place: int, value: object) -> None:
        self._digests.note(place, value)


def _watch(module: fx.GraphModule, digests: OpDigests) -> None:
    module.add_submodule("fastsa_note", _Note(digests))
    # What the backward gets from the forward has its op's name, too, but is no run of it.
    calls = [node for node in module.graph.nodes if node.op == "call_function"]
    for node in calls:
        if NAME in node.meta and node.target is not run_and_save_rng_state:
            with module.graph.inserting_after(node):
                module.graph.call_module("fastsa_note", (node.meta[NAME], node))
    module.recompile()


def _is_compared(node: fx.Node) -> bool:
    """Whether a node makes a tensor, or takes one out of what an op has made."""
    if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor):
        return False
    if node.target is operator.getitem:
        return True
    return not is_folded(node) and getattr(node.target, "overloadpacket", None) not in UNWRITTEN
