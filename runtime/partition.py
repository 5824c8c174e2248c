"""Partition: a joint graph and a plan become a forward and a backward in exactly the plan's order.

The joint graph is written anew in plan order: an op listed again is copied there, and from then on
its users read the newest copy. What crosses from forward to backward is what the forward saves.
torch's own `_extract_fwd_bwd_modules` then splits it, so that AOTAutograd's calling convention
stays torch's business.
"""

from __future__ import annotations

import operator
from collections import Counter
from typing import cast

from torch import fx
from torch._functorch.partitioners import _extract_fwd_bwd_modules
from torch.fx.node import Argument
from torch.utils import _pytree as pytree

from fastsa.capture.accumulation import Accumulation
from fastsa.capture.faithful import own_draws
from fastsa.capture.joint_graph import (
    BACKWARD,
    EAGER,
    FORWARD,
    Capture,
    is_random,
    is_scalar,
    is_tangent,
    only_updates_statistics,
)
from fastsa.errors import IllegalPlan
from fastsa.planner.plan import Plan
from fastsa.planner.step import Order
from fastsa.runtime import rng
from fastsa.runtime.accumulate import accumulate

POSITION = "fastsa_position"
"""Node metadata: the position in the plan's sequence that a node was emitted for."""

UNCHECKED = "saved_tensor_with_no_vc_check"
"""Node metadata, read by torch's partitioner: the backward may find this tensor overwritten."""


def partition(capture: Capture, plan: Plan | Order) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Forward and backward modules that run `plan` in order.

    Raises IllegalPlan if what came out is not in the plan's order.
    """
    emitter = _Emitter(capture, plan)
    ordered = emitter.emit()
    saved, saved_scalars = emitter.saved()
    forward, backward = _extract_fwd_bwd_modules(
        ordered, saved, saved_scalars, num_fwd_outputs=capture.num_fwd_outputs
    )
    for module in (forward, backward):
        _check_order(module)
    return own_draws(forward, backward)


def _check_order(module: fx.GraphModule) -> None:
    calls = [node for node in module.graph.nodes if node.op == "call_function"]
    positions = [node.meta[POSITION] for node in calls if POSITION in node.meta]
    if positions != sorted(positions):
        raise IllegalPlan(
            "the partitioned graph does not follow the plan's order",
            hint="please report this; the job trains unplanned",
        )


class _Emitter:
    """Writes the two graphs; large because all of it is the state of one walk over the plan."""

    def __init__(self, capture: Capture, plan: Plan | Order) -> None:
        self.capture = capture
        self.joint = capture.joint
        self.graph = fx.Graph()
        self.phase = FORWARD
        starts = (*plan.segment_starts, len(plan.sequence))
        self.segments = [
            plan.sequence[starts[i] : starts[i + 1]] for i in (FORWARD, EAGER, BACKWARD)
        ]
        self.returned: list[Argument] = []  # by the joint graph's backward
        self.runs = Counter(capture.nodes[op] for op in plan.sequence)
        self.left = Counter(self.runs)
        self.newest: dict[fx.Node, fx.Node] = {}  # joint node -> its newest copy
        self.made_of: dict[fx.Node, tuple[fx.Node, ...]] = {}  # folded node -> copies it read
        self.phase_of: dict[fx.Node, int] = {}  # copy -> phase
        self.states: dict[fx.Node, fx.Node] = {}  # random joint node -> its saved state
        self.crossing: dict[fx.Node, None] = {}  # copies the backward reads from the forward
        self.position = 0
        self.accumulation = Accumulation.of(capture)
        self.gradients = _gradients(capture, self.accumulation)
        self.given: dict[int, fx.Node] = {}  # position of a gradient -> what is returned for it

    def emit(self) -> fx.GraphModule:
        for node in self.joint.graph.nodes:
            if node.op in ("placeholder", "get_attr"):
                self.newest[node] = self.copy(node)
        output = next(iter(self.joint.graph.find_nodes(op="output")))
        leaves = pytree.arg_tree_leaves(*output.args)
        count = self.capture.num_fwd_outputs
        self.returned = leaves[count:]
        self.run_segment(self.segments[FORWARD])
        forward_outputs = [self.resolve_leaf(leaf) for leaf in leaves[:count]]
        self.position += len(self.segments[EAGER])
        self.enter_backward()
        self.run_segment(self.segments[BACKWARD])
        backward_outputs = [
            self.given[i] if i in self.given else self.resolve_leaf(leaf)
            for i, leaf in enumerate(self.returned)
        ]
        made = self.graph.output((*forward_outputs, *backward_outputs))
        made.meta = dict(output.meta)
        self.graph.lint()
        return fx.GraphModule(self.joint, self.graph)

    def saved(self) -> tuple[list[fx.Node], list[fx.Node]]:
        """What the forward must keep for the backward: tensors, sizes."""
        nodes = [n for n in self.crossing if n.op != "get_attr" and not is_tangent(n)]
        for node in nodes:
            if self.may_change(node):
                node.meta[UNCHECKED] = True
        return [n for n in nodes if not is_scalar(n)], [n for n in nodes if is_scalar(n)]

    def may_change(self, copied: fx.Node) -> bool:
        """Whether the backward gives the same bits whatever another forward does to an input.

        Running statistics, when the model is called again before its backward.
        """
        readers = [user for user in copied.users if self.phase_of.get(user) == BACKWARD]
        return copied.op == "placeholder" and all(
            only_updates_statistics(reader) and copied in reader.args[3:5] for reader in readers
        )

    def run_segment(self, sequence: tuple[int, ...]) -> None:
        for op in sequence:
            node = self.capture.nodes[op]
            if node is None:
                raise IllegalPlan(
                    "the outside op is in a captured segment", hint="remove the plan and plan again"
                )
            self.run(node)
            self.left[node] -= 1
            if not self.left[node]:
                self.accumulate(op)
            self.position += 1

    def accumulate(self, op: int) -> None:
        """Where a gradient is made for the last time, it may be added into `.grad` at once."""
        for i in self.gradients.get(op, ()):
            gradient = self.resolve(cast(fx.Node, self.returned[i]))
            leaf = (self.accumulation.input_of[i], self.accumulation.inputs)
            call = self.graph.call_function(accumulate, (gradient, i, *leaf))
            call.meta = {"val": gradient.meta.get("val"), "partitioner_tag": "is_backward"}
            call.meta[POSITION] = self.position
            self.given[i] = call

    def enter_backward(self) -> None:
        # Views are made again from what is saved: saving the view too would keep a name alive.
        for folded in [n for n in self.made_of if not is_scalar(n)]:
            del self.newest[folded], self.made_of[folded]
        self.phase = BACKWARD

    def run(self, node: fx.Node) -> None:
        copied = self.copy(node)
        if is_random(node) and self.runs[node] > 1:
            copied = self.replayed(node, copied)
        copied.meta[POSITION] = self.position
        self.newest[node] = copied
        self.elements(node)

    def replayed(self, node: fx.Node, copied: fx.Node) -> fx.Node:
        self.phase_of.pop(copied)
        if node in self.states:
            self.cross(self.states[node])
            made = rng.repeat(self.graph, copied, self.states[node])
        else:
            made, self.states[node] = rng.first_run(self.graph, copied)
            self.phase_of[self.states[node]] = self.phase
        self.phase_of[made] = self.phase
        return made

    def elements(self, node: fx.Node) -> None:
        # Elements belong to their producer's step: a tuple kept for later pins all its tensors.
        for user in node.users:
            if user.target is operator.getitem:
                self.newest[user] = self.copy(user)
                self.elements(user)

    def copy(self, node: fx.Node) -> fx.Node:
        copied = self.graph.node_copy(node, self.resolve)
        copied.meta = {
            k: v for k, v in copied.meta.items() if k not in ("recompute", "ac_graph_id")
        }
        if node.op == "call_function":
            self.phase_of[copied] = self.phase
            if self.phase == BACKWARD:
                copied.meta["partitioner_tag"] = "is_backward"
        return copied

    def resolve_leaf(self, leaf: Argument) -> Argument:
        return self.resolve(leaf) if isinstance(leaf, fx.Node) else leaf

    def resolve(self, node: fx.Node) -> fx.Node:
        """The newest copy of a node; a folded one is made again when what it reads is newer."""
        if self.lazily_made(node):
            self.refresh(node)
        found = self.newest[node]
        self.cross(found)
        return found

    def lazily_made(self, node: fx.Node) -> bool:
        return node in self.capture.folded and (node in self.made_of or node not in self.newest)

    def refresh(self, node: fx.Node) -> None:
        if is_scalar(node) and node in self.newest:
            return
        read = tuple(self.resolve(argument) for argument in node.all_input_nodes)
        if self.made_of.get(node) != read:
            self.newest[node] = self.copy(node)
            self.made_of[node] = read

    def cross(self, found: fx.Node) -> None:
        if self.phase == BACKWARD and self.phase_of.get(found, FORWARD) == FORWARD:
            self.crossing[found] = None


def _gradients(capture: Capture, accumulation: Accumulation) -> dict[int, list[int]]:
    """By op of the backward: the positions of the gradients that are in what it makes."""
    maker = {v: op for op in capture.graph.ops if op.segment == BACKWARD for v in op.outputs}
    found: dict[int, list[int]] = {}
    for position in accumulation.input_of:
        value = capture.gradient_values[position]
        if value in maker:
            found.setdefault(maker[value].id, []).append(position)
    return found
