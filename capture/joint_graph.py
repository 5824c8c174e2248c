"""Joint graph: a traced forward and backward becomes a `Graph` that the planner understands.

An op is a node that creates storage or has an effect. Views, tuple elements and sizes are *folded*:
they cost nothing, hold no storage of their own, and are made again wherever they are used.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch._functorch._aot_autograd.descriptors import InputMutationAOTOutput
from torch.utils import _pytree as pytree

from fastsa.capture.source import module_path, source_line
from fastsa.errors import CaptureFailed
from fastsa.instrumentation.allocators.events import rounded
from fastsa.planner.graph import Graph, Op, Segment, Value
from fastsa.planner.step import EAGER_TARGET

FORWARD, EAGER, BACKWARD = 0, 1, 2
SEGMENTS = (Segment("forward", 0), Segment("eager", 1), Segment("backward", 0))
"""The eager code between a region's forward and its backward: reads outputs, makes tangents."""

PURE_NAMESPACES = frozenset({"aten", "prims", "_operator"})
"""Only these are known to give the same bits when run again; custom ops may keep state."""

COLLECTIVES = frozenset(
    {
        "_c10d_functional",
        "_c10d_functional_autograd",
        "c10d",
        "c10d_functional",
        "_dtensor",
        "symm_mem",
    }
)
"""Namespaces of ops that talk to other ranks."""

NOT_REPEATABLE_ON_CUDA = frozenset(
    # Atomic additions: a second run may differ in the last bits
    # (torch.use_deterministic_algorithms lists them).
    f"aten.{name}"
    for name in (
        "scatter_add", "scatter_reduce", "index_add", "index_put", "put", "bincount", "histc",
        "cumsum", "kthvalue", "median", "embedding_dense_backward", "_embedding_bag",
    )
)  # fmt: skip


@dataclass
class Capture:
    """A joint graph and the `Graph` made of it.

    `nodes[i]` is op i's node, None for the eager code; `folded` are the nodes that are no ops;
    `output_values[i]` is the value behind the forward's output i, None for a view of an input;
    `gradient_values` are the same for the backward's outputs; `accumulated` are those of them that
    go into a `.grad` that was there when the region was compiled.
    """

    joint: fx.GraphModule
    num_fwd_outputs: int
    graph: Graph
    nodes: tuple[fx.Node | None, ...]
    folded: frozenset[fx.Node]
    output_values: tuple[int | None, ...]
    gradient_values: tuple[int | None, ...]
    accumulated: frozenset[int] = frozenset()

    @property
    def device(self) -> torch.device:
        """The device most of the step's bytes live on."""
        return device_of(self.joint)


def eager_op(graph: Graph) -> Op:
    """The op that stands for the eager code in the graph of one region: it makes the tangents."""
    return next(op for op in graph.ops if op.segment == EAGER)


def tensors(node: fx.Node) -> list[torch.Tensor]:
    """The (fake) tensors a node yields."""
    leaves = pytree.tree_leaves(node.meta.get("val"))
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def storage_key(tensor: torch.Tensor) -> int:
    """Equal for tensors that share a storage."""
    return int(tensor.untyped_storage()._cdata)


def storage_bytes(tensor: torch.Tensor) -> int:
    """Bytes of a tensor's storage; the hint where a dimension is symbolic."""
    return hint(tensor.untyped_storage().nbytes())


def hint(size: Any) -> int:
    """A size as a number; the traced run's where it is symbolic."""
    return int(size.node.hint if isinstance(size, torch.SymInt) else size)


def is_random(node: fx.Node) -> bool:
    """Whether a node draws from a random generator."""
    target = node.target
    return (
        isinstance(target, torch._ops.OpOverload)
        and torch.Tag.nondeterministic_seeded in target.tags
    )


def may_draw(node: fx.Node) -> bool:
    """Whether a node draws from a random generator, or nobody can tell."""
    return is_random(node) or getattr(node.target, "namespace", None) not in PURE_NAMESPACES


def is_collective(node: fx.Node) -> bool:
    """Whether a node talks to other ranks: it runs once, on all of them, in the same order."""
    return getattr(node.target, "namespace", None) in COLLECTIVES


def is_scalar(node: fx.Node) -> bool:
    """Whether a node yields a size or another number, not a tensor."""
    value = node.meta.get("val")
    return isinstance(value, (int, float, bool, torch.SymInt, torch.SymFloat, torch.SymBool))


def mutated_arguments(node: fx.Node) -> list[fx.Node]:
    """The argument nodes a node writes in place."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return []
    found = []
    for i, argument in enumerate(node.target._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        given = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name)
        found += [leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, fx.Node)]
    return found


def written_after_forward(joint: fx.GraphModule) -> list[fx.Node]:
    """The inputs that AOTAutograd overwrites right after the forward, outside of the graph."""
    output = next(iter(joint.graph.find_nodes(op="output")))
    descriptions = pytree.tree_leaves(output.meta.get("desc", ()))
    written = [d.mutated_input for d in descriptions if isinstance(d, InputMutationAOTOutput)]
    inputs = joint.graph.find_nodes(op="placeholder")
    return [node for node in inputs if node.meta.get("desc") in written]


def input_keys(joint: fx.GraphModule) -> dict[int, int]:
    """The forward's arguments by storage key: their positions."""
    nodes = [n for n in joint.graph.find_nodes(op="placeholder") if not is_tangent(n)]
    return {storage_key(t): position for position, n in enumerate(nodes) for t in tensors(n)}


def inputs_read(capture: Capture) -> tuple[tuple[int, ...], ...]:
    """By op: the positions of the forward's arguments it reads, themselves or views of them."""
    keys = input_keys(capture.joint)

    def read(node: fx.Node | None) -> tuple[int, ...]:
        arguments = node.all_input_nodes if node is not None else ()
        found = (keys.get(storage_key(t)) for a in arguments for t in tensors(a))
        return tuple(dict.fromkeys(position for position in found if position is not None))

    return tuple(read(node) for node in capture.nodes)


def inputs_written(joint: fx.GraphModule) -> frozenset[int]:
    """The positions of the forward's arguments whose contents a step changes."""
    keys = input_keys(joint)
    written = [a for node in joint.graph.nodes for a in mutated_arguments(node)]
    written += written_after_forward(joint)
    found = (keys.get(storage_key(t)) for node in written for t in tensors(node))
    return frozenset(position for position in found if position is not None)


def is_tangent(node: fx.Node) -> bool:
    """Whether a placeholder is the gradient of a forward output."""
    return node.op == "placeholder" and "tangents" in str(node.target)


_BATCH_NORMS = {
    # training batch norm: which argument says so, which outputs are the new running statistics
    "aten._native_batch_norm_legit_functional.default": (5, (3, 4)),
    "aten._batch_norm_with_update_functional.default": (None, (4, 5)),
}
_BATCH_NORM_BACKWARDS = {
    # which argument says that it is in training mode, where it ignores the running statistics
    "aten.native_batch_norm_backward.default": 7,
    "aten.batch_norm_backward.default": 7,
}


def only_updates_statistics(node: fx.Node) -> bool:
    """Whether a node reads running statistics only to update them: batch norm in training.

    Its normalised output does not depend on them, so it gives the same bits after the update, as
    long as nobody reads the statistics a repeat would make.
    """
    if str(node.target) not in _BATCH_NORMS:
        return False
    training, statistics = _BATCH_NORMS[str(node.target)]
    if training is not None and node.args[training] is not True:
        return False
    elements = [u for u in node.users if u.target is operator.getitem and u.args[1] in statistics]
    return all(_ignores_statistics(reader) for u in elements for reader in u.users)


def _ignores_statistics(reader: fx.Node) -> bool:
    if reader.op == "output" or mutated_arguments(reader):
        return True  # runs once, in the forward
    training = _BATCH_NORM_BACKWARDS.get(str(reader.target))
    return training is not None and reader.args[training] is True


def is_effect(node: fx.Node) -> bool:
    """Whether an op returns nothing: an assertion, as `F.one_hot` makes of its classes."""
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and not target._schema.returns


def _is_read(node: fx.Node) -> bool:
    return any(user.target is not operator.getitem or _is_read(user) for user in node.users)


def device_of(joint: fx.GraphModule) -> torch.device:
    """The device most of a graph's bytes live on."""
    weight: dict[torch.device, int] = {}
    for node in joint.graph.nodes:
        for tensor in tensors(node):
            weight[tensor.device] = weight.get(tensor.device, 0) + storage_bytes(tensor)
    return max(weight, key=lambda device: weight[device], default=torch.device("cpu"))


def is_folded(node: fx.Node) -> bool:
    """Whether a call makes no storage and has no effect: a view, a tuple element, a size."""
    if node.target is operator.getitem or is_scalar(node):
        return True
    outputs = tensors(node)
    if not outputs or mutated_arguments(node):
        return False
    inputs = {storage_key(t) for argument in node.all_input_nodes for t in tensors(argument)}
    return all(storage_key(t) in inputs for t in outputs)


def capture(joint: fx.GraphModule, num_fwd_outputs: int, *, name: str, device_name: str) -> Capture:
    """Make a `Graph` of AOTAutograd's joint graph, sizes from fake tensors, seconds zero.

    Raises CaptureFailed for what cannot be planned (opaque objects, effects without a tensor).
    """
    return _Builder(joint, num_fwd_outputs).build(name, device_name)


@dataclass
class _Draft:
    node: fx.Node | None
    segment: int
    target: str
    recomputable: bool
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)


class _Builder:
    def __init__(self, joint: fx.GraphModule, num_fwd_outputs: int) -> None:
        self.joint = joint
        self.device = device_of(joint)
        output = next(iter(joint.graph.find_nodes(op="output")))
        leaves = pytree.arg_tree_leaves(*output.args)
        self.forward_outputs = [n for n in leaves[:num_fwd_outputs] if isinstance(n, fx.Node)]
        self.backward_outputs = [n for n in leaves[num_fwd_outputs:] if isinstance(n, fx.Node)]
        self.num_fwd_outputs = num_fwd_outputs
        self.sizes: list[int] = []
        self.value_of: dict[int, int] = {}  # storage key -> value id
        self.folded = frozenset(
            n for n in joint.graph.nodes if n.op == "call_function" and is_folded(n)
        )
        self.mutated = {
            storage_key(t)
            for node in joint.graph.nodes
            for argument in mutated_arguments(node)
            for t in tensors(argument)
        }
        self.mutated |= {storage_key(t) for n in written_after_forward(joint) for t in tensors(n)}
        self.returned = {
            storage_key(t)
            for n in self.forward_outputs
            if n.op != "placeholder"
            for t in tensors(n)
        }
        self.readers: dict[int, list[_Draft]] = {}  # mutated storage -> ops that read it
        self.writer: dict[int, _Draft] = {}  # mutated storage -> the op that wrote it last
        self.last_random: _Draft | None = None
        self.last_effect: _Draft | None = None

    def build(self, name: str, device_name: str) -> Capture:
        drafts = self.drafts()
        values = tuple(Value(i, size) for i, size in enumerate(self.sizes))
        graph = Graph(
            schema="fastsa.graph/1",
            name=name,
            device={"name": device_name},
            resident_bytes=self.resident_bytes(),
            segments=SEGMENTS,
            values=values,
            ops=tuple(self.op(i, draft) for i, draft in enumerate(drafts)),
            outputs=self.step_outputs(),
            producer={"torch": str(torch.__version__)},
        )
        nodes = tuple(draft.node for draft in drafts)
        returned = self.returned_values()
        return Capture(
            self.joint,
            self.num_fwd_outputs,
            graph,
            nodes,
            self.folded,
            returned[: self.num_fwd_outputs],
            returned[self.num_fwd_outputs :],
        )

    def drafts(self) -> list[_Draft]:
        calls = [n for n in self.joint.graph.nodes if n.op == "call_function"]
        self.refuse_numbers_from_tensors(calls)
        calls = [n for n in calls if n not in self.folded]
        forward = self.forward_nodes(calls)
        drafts = [self.draft(n, FORWARD) for n in calls if n in forward]
        drafts.append(self.eager())
        drafts += [self.draft(n, BACKWARD) for n in calls if n not in forward]
        return drafts

    def refuse_numbers_from_tensors(self, calls: Iterable[fx.Node]) -> None:
        # Such a number holds no storage, so the order of reading it would be anybody's guess.
        for node in calls:
            if is_scalar(node) and torch.Tag.data_dependent_output in getattr(
                node.target, "tags", ()
            ):
                raise CaptureFailed(
                    f"op {node.target} makes a number of a tensor's contents",
                    hint="the region runs unplanned",
                )

    def forward_nodes(self, calls: Iterable[fx.Node]) -> set[fx.Node]:
        """The calls that belong to the forward, as torch's default partitioner sees it."""
        needed: set[fx.Node] = set()
        stack = list(self.forward_outputs)
        tagged = []
        for node in calls:
            tag = node.meta.get("partitioner_tag")
            forward_tag = tag in ("is_forward", "must_be_in_forward")
            if forward_tag or (tag is None and mutated_arguments(node)):
                tagged.append(node)
        tangent_dependent = self.tangent_dependent()
        stack += [node for node in tagged if node not in tangent_dependent]
        while stack:
            node = stack.pop()
            if node not in needed:
                needed.add(node)
                stack += node.all_input_nodes
        return needed

    def tangent_dependent(self) -> set[fx.Node]:
        found: set[fx.Node] = set()
        for node in self.joint.graph.nodes:
            if is_tangent(node) or any(a in found for a in node.all_input_nodes):
                found.add(node)
        return found

    def draft(self, node: fx.Node, segment: int) -> _Draft:
        if not tensors(node) and not mutated_arguments(node) and not is_effect(node):
            raise CaptureFailed(
                f"op {node.target} has no tensor to plan by", hint="the region runs unplanned"
            )
        draft = _Draft(node, segment, str(node.target), self.recomputable(node))
        read = list(dict.fromkeys(storage_key(t) for a in node.all_input_nodes for t in tensors(a)))
        draft.inputs = [self.value_of[key] for key in read if key in self.value_of]
        for tensor in tensors(node):
            if storage_key(tensor) not in read:
                self.new_value(draft, storage_key(tensor), storage_bytes(tensor))
        self.order(node, draft, read)
        return draft

    def new_value(self, draft: _Draft, key: int, size: int) -> None:
        if key not in self.value_of:
            self.value_of[key] = len(self.sizes)
            self.sizes.append(rounded(size, self.device))
            draft.outputs.append(self.value_of[key])

    def token(self, earlier: _Draft, later: _Draft) -> None:
        """Make `later` run after `earlier`: a value of no bytes between them."""
        earlier.outputs.append(len(self.sizes))
        later.inputs.append(len(self.sizes))
        self.sizes.append(0)

    def order(self, node: fx.Node, draft: _Draft, read: list[int]) -> None:
        """Keep what the data alone does not: random draws in order, reads before their write."""
        if may_draw(node):
            if self.last_random is not None:
                self.token(self.last_random, draft)
            self.last_random = draft
        if is_effect(node):
            if self.last_effect is not None:
                self.token(self.last_effect, draft)
            self.last_effect = draft
        written = {storage_key(t) for a in mutated_arguments(node) for t in tensors(a)}
        for key in written:
            for reader in self.readers.pop(key, ()):
                self.token(reader, draft)
            self.writer[key] = draft
        for key in self.mutated.intersection(read) - written:
            if key in self.writer:
                self.token(self.writer[key], draft)
            self.readers.setdefault(key, []).append(draft)

    def recomputable(self, node: fx.Node) -> bool:
        target = node.target
        if not isinstance(target, torch._ops.OpOverload):
            return False
        if target.namespace not in PURE_NAMESPACES or target._schema.is_mutable:
            return False
        if torch.Tag.nondeterministic_bitwise in target.tags:
            return False
        if self.device.type == "cuda" and str(target.overloadpacket) in NOT_REPEATABLE_ON_CUDA:
            return False
        if is_random(node) and (node.kwargs.get("generator") is not None or not _is_read(node)):
            return False  # an unread draw is there for the generator, which a repeat leaves alone
        if node.is_impure(impure_random=False):
            return False
        read = {storage_key(t) for a in node.all_input_nodes for t in tensors(a)}
        # What the script gets it may change in place before the backward, and may hold to the end.
        made = {storage_key(t) for t in tensors(node)}
        if (read | made) & self.returned:
            return False
        # A buffer written in this step holds its *new* value by the time of a recomputation.
        return only_updates_statistics(node) or not read & self.mutated

    def eager(self) -> _Draft:
        draft = _Draft(None, EAGER, EAGER_TARGET, recomputable=False)
        keys = dict.fromkeys(storage_key(t) for n in self.forward_outputs for t in tensors(n))
        draft.inputs = [self.value_of[key] for key in keys if key in self.value_of]
        for node in self.joint.graph.find_nodes(op="placeholder"):
            if is_tangent(node):
                for tensor in tensors(node):
                    self.new_value(draft, storage_key(tensor), storage_bytes(tensor))
        # What the eager code keeps through the backward: no bytes until someone measures it.
        self.held = len(self.sizes)
        self.sizes.append(0)
        draft.outputs.append(self.held)
        return draft

    def step_outputs(self) -> tuple[int, ...]:
        """Forward outputs the script may hold, and the gradients."""
        keys = dict.fromkeys(
            storage_key(t)
            for n in (*self.forward_outputs, *self.backward_outputs)
            for t in tensors(n)
        )
        return (*(self.value_of[key] for key in keys if key in self.value_of), self.held)

    def returned_values(self) -> tuple[int | None, ...]:
        output = next(iter(self.joint.graph.find_nodes(op="output")))
        leaves = pytree.arg_tree_leaves(*output.args)
        found = [tensors(leaf) if isinstance(leaf, fx.Node) else [] for leaf in leaves]
        return tuple(self.value_of.get(storage_key(t[0])) if t else None for t in found)

    def resident_bytes(self) -> int:
        """Bytes of the graph's inputs: parameters, buffers, batch."""
        found = {}
        for node in self.joint.graph.nodes:
            if node.op in ("placeholder", "get_attr") and not is_tangent(node):
                for tensor in tensors(node):
                    found[storage_key(tensor)] = rounded(storage_bytes(tensor), tensor.device)
        return sum(found.values())

    def op(self, i: int, draft: _Draft) -> Op:
        node = draft.node
        return Op(
            id=i,
            target=draft.target,
            segment=draft.segment,
            seconds=0.0,
            inputs=tuple(draft.inputs),
            outputs=tuple(draft.outputs),
            recomputable=draft.recomputable,
            name=node.name if node is not None else None,
            source=source_line(node) if node is not None else None,
            module=module_path(node) if node is not None else None,
        )
