"""Accumulation: which gradients of a running backward end in a `.grad` that is there already.

torch's AccumulateGrad adds such a gradient in place, when the whole backward of its region has
run. Whoever adds it earlier must know that nothing else can tell the difference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import torch
from torch import Tensor

from fastsa.capture.graph_task import AccumulateGrad, contributions
from fastsa.capture.joint_graph import Capture, is_tangent, tensors
from fastsa.instrumentation.storages import storage_address
from fastsa.planner.graph import Graph


def has_gradient(value: Any) -> bool:
    """Whether a value is a parameter with a gradient."""
    return isinstance(value, torch.nn.Parameter) and value.grad is not None


def accumulated_values(capture: Capture, have_gradients: Sequence[bool]) -> frozenset[int]:
    """The values of the gradients whose inputs, by position, have a gradient already."""
    pairs = zip(capture.gradient_values, have_gradients, strict=False)
    if len(capture.gradient_values) != len(have_gradients):
        return frozenset()  # torch has rearranged the inputs: count both sets of gradients
    return frozenset(value for value, has in pairs if has and value is not None)


def accumulating(graph: Graph, accumulated: Collection[int]) -> Graph:
    """The graph of a region whose gradients `accumulated` end where they are made.

    They are added into those that are there, which are resident then.
    """
    left = tuple(value for value in graph.outputs if value not in accumulated)
    return msgspec.structs.replace(graph, outputs=left)


class Accumulation:
    """The leaves that the gradients of a region belong to.

    `inputs`: how many tensors its forward is given; `input_of`: by position of a gradient, the
    position among these of what it is the gradient of.
    """

    def __init__(self, inputs: int, input_of: Mapping[int, int]) -> None:
        self.inputs = inputs
        self.input_of = input_of

    @classmethod
    def of(cls, capture: Capture) -> Accumulation:
        """Those of a captured region."""
        nodes = capture.joint.graph.find_nodes(op="placeholder")
        inputs = [bool(tensors(node)) for node in nodes if not is_tangent(node)]
        gradients = capture.gradient_values
        if len(gradients) != len(inputs):
            return cls(sum(inputs), {})  # torch has rearranged them
        found = {i: sum(inputs[:i]) for i, value in enumerate(gradients) if value is not None}
        return cls(sum(inputs), found)

    def targets(self, arguments: Sequence[Any]) -> dict[int, Tensor]:
        """By position of a gradient: the `.grad` that it can be added into as soon as it is there.

        To be called when the region's backward begins, in its thread, with its arguments. A
        gradient that is not in here is the engine's: its leaf has no `.grad` or an unusual one,
        or gets more than one gradient in this backward, or somebody looks on (hooks, anomaly
        detection, torch.distributed), or the backward is no plain one.
        """
        node = torch._C._current_autograd_node()
        if node is None or not self.input_of or _is_watched():
            return {}
        edges: list[Any] = [function for function, _ in node.next_functions]
        if len(edges) != self.inputs:
            return {}
        ends = {p: edges[i] for p, i in self.input_of.items() if type(edges[i]) is AccumulateGrad}
        leaves = {p: end.variable for p, end in ends.items()}
        found = {p: leaf.grad for p, leaf in leaves.items() if _has_plain_gradient(leaf)}
        if not found or any(map(_has_hooks, leaves.values(), ends.values())):
            return {}
        counts = contributions(node) or {}
        found = {p: g for p, g in found.items() if counts.get(id(leaves[p])) == 1}
        return _apart(found, arguments)


def _is_watched() -> bool:
    distributed = torch.distributed
    return torch.is_anomaly_enabled() or (
        distributed.is_available() and distributed.is_initialized()
    )


def _has_plain_gradient(leaf: Tensor) -> bool:
    gradient = leaf.grad
    return (
        gradient is not None
        and leaf.requires_grad
        and type(gradient) is Tensor
        and gradient.layout is torch.strided
        and gradient.dtype == leaf.dtype
        and gradient.device == leaf.device
        and gradient.shape == leaf.shape
        and not gradient.requires_grad
        and not gradient.is_inference()
    )


def _has_hooks(leaf: Tensor, end: Any) -> bool:
    """Whether somebody is told of a leaf's gradient, and may look at other leaves then."""
    if leaf._backward_hooks or leaf._post_accumulate_grad_hooks:
        return True
    return any(_is_registered(register) for register in (end.register_prehook, end.register_hook))


def _is_registered(register: Any) -> bool:
    # torch has no other way to ask: a hook's handle knows the dictionary of all of them.
    handle = register(_no_hook)
    hooks = handle.hooks_dict_ref()
    handle.remove()
    return bool(hooks)


def _no_hook(*ignored: object) -> None:
    return None


def _apart(found: Mapping[int, Tensor], arguments: Iterable[Any]) -> dict[int, Tensor]:
    """Those that share no memory with each other, nor with anything the backward still reads."""
    read = {storage_address(a) for a in arguments if isinstance(a, Tensor)}
    mine = {p: g for p, g in found.items() if storage_address(g) not in read}
    spans = sorted(_span(gradient) for gradient in mine.values())
    is_apart = all(first[1] <= second[0] for first, second in pairwise(spans))
    return mine if is_apart else {}


def _span(tensor: Tensor) -> tuple[int, int]:
    if not tensor.numel():
        return tensor.data_ptr(), tensor.data_ptr()
    last = sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()
