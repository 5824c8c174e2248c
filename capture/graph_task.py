"""Graph task: the backward that is running: where it began, and how many gradients a leaf gets.

torch's engine adds up what a leaf gets before it touches `.grad`, and does not say how many
gradients are to come (`_current_graph_task_execution_order` is for the beginning of a task only).
So the graph is walked from the roots, which are found in the frame of the call of the engine.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch.autograd.graph import GradientEdge, Node, _engine_run_backward

AccumulateGrad = torch._C._functions.AccumulateGrad  # type: ignore[attr-defined]


class _Contributions:
    """What a backward gives: the number of gradients by `id` of leaf, and the `id` of its nodes.

    No references: a node that is kept alive keeps what it saved.
    """

    def __init__(self, roots: Sequence[Any]) -> None:
        self.of_leaf: Counter[int] = Counter()
        self.nodes: set[int] = set()
        self._walk([node for root in roots for node in _nodes_of(root)])

    def _walk(self, stack: list[Node]) -> None:
        seen: dict[int, Node] = {}  # keeps them: a node without a reference loses its Python object
        while stack:
            node = stack.pop()
            if isinstance(node, AccumulateGrad):
                self.of_leaf[id(node.variable)] += 1
            elif id(node) not in seen:
                seen[id(node)] = node
                stack += [following for following, _ in node.next_functions if following]
        self.nodes.update(seen)


def _nodes_of(root: Any) -> list[Node]:
    if isinstance(root, GradientEdge):
        return [root.node]
    if root.grad_fn is not None:
        return [root.grad_fn]
    return [torch.autograd.graph.get_gradient_edge(root).node] if root.requires_grad else []


_newest: tuple[int, _Contributions] | None = None  # of one graph task; numbers are never reused


def contributions(node: Node) -> Mapping[int, int] | None:
    """How many gradients the running `backward()` adds up for each leaf, by `id` of the leaf.

    `node` is the one that is running. None if that cannot be told, or if it is not a plain
    backward: gradients of gradients, `inputs=`, `autograd.grad`.
    """
    global _newest
    task = torch._C._current_graph_task_id()
    if _newest is None or _newest[0] != task:
        found = _find(node)
        if found is None:
            return None
        _newest = (task, found)
    return _newest[1].of_leaf if id(node) in _newest[1].nodes else None


def _find(node: Node) -> _Contributions | None:
    walked = (_Contributions(roots) for roots in _plain_roots())
    found = [each for each in walked if id(node) in each.nodes]
    return found[0] if len(found) == 1 else None


def _plain_roots() -> Iterator[Sequence[Any]]:
    for frame in _engine_calls():
        values = frame.f_locals
        if _is_plain(values.get("args", ()), values.get("kwargs", {})):
            yield values["t_outputs"]


def _is_plain(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if len(args) != 4 or kwargs.get("accumulate_grad") is not True:
        return False
    _, _, creates_graph, inputs = args
    return not creates_graph and not inputs


def _engine_calls() -> list[FrameType]:
    """The calls of the engine that may be running the current node.

    On a CPU a backward runs in the thread that called it; on other devices in one of the engine's.
    """
    own = _calls_in(sys._getframe())
    if own:
        return own[:1]
    return [call for top in sys._current_frames().values() for call in _calls_in(top)]


def _calls_in(top: FrameType) -> list[FrameType]:
    found = []
    frame: FrameType | None = top
    while frame is not None:
        if frame.f_code is _engine_run_backward.__code__:
            found.append(frame)
        frame = frame.f_back
    return found
