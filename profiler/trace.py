"""Trace: everything torch's own profiler sees of a program, in one pass.

Allocations with the op, module and line they come from, the time of every op, and the backward
nodes. Source: `torch.autograd.profiler.profile` with memory and Python stacks; its event tree
(`experimental_event_tree`) nests allocations in ops and ops in Python frames and modules.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch._C._profiler import RecordScope, _EventType

from fastsa.instrumentation import event_tree
from fastsa.instrumentation.garbage import no_collection
from fastsa.instrumentation.kineto import Kineto
from fastsa.instrumentation.program import Program
from fastsa.records.timeline import Phase

FORWARD, BACKWARD = "forward ", "backward "
_OPTIMIZER = "torch/optim/optimizer.py"
_NODE = "autograd::engine::evaluate_function: "

Place = tuple[str | None, str | None]  # module, source
Key = tuple[str, Phase, Place]  # op, phase, place


@dataclass(slots=True)
class TracedBlock:
    """`bytes` allocated (positive) or released (0 or less) at `address`.

    `call` numbers the outermost op it happens in, 0 outside of ops; `total` is what the allocator
    says it has given out after it, None where it does not say.
    """

    nanoseconds: int
    bytes: int
    address: int
    total: int | None = None
    call: int = 0
    op: str | None = None
    phase: Phase | None = None
    place: Place = (None, None)


@dataclass(slots=True)
class NodeRun:
    """One run of a backward node: its name, and the sequence number it shares with its forward."""

    name: str
    sequence: int
    start: int
    end: int
    module: str | None


@dataclass(slots=True)
class Trace:
    """What was seen. `seconds` maps each op at each place to its calls and nanoseconds.

    `times` maps each mark to its nanoseconds, `marks` to the number of blocks before it;
    `forwards` maps a sequence number to the op that made the node, and its place.
    """

    blocks: list[TracedBlock] = field(default_factory=list)
    times: dict[str, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    nodes: list[NodeRun] = field(default_factory=list)
    seconds: dict[Key, list[int]] = field(default_factory=dict)
    forwards: dict[int, tuple[str, Place]] = field(default_factory=dict)


class Tracer:
    """Records the allocator of `device` and all ops from `start` to `stop`; then `read`.

    Threads the program starts itself are not seen; those of autograd are.
    """

    def __init__(self, device: torch.device, *, with_stack: bool = True) -> None:
        self._device = device
        # Python has room for one profile function: the program's own stays.
        self.has_stacks = with_stack and sys.getprofile() is None
        self._kineto = Kineto(device, with_stack=self.has_stacks)
        self._program = Program()

    @property
    def was_interrupted(self) -> bool:
        """Whether the program has started a profiler of its own, which ended this recording."""
        return self._kineto.was_interrupted

    def start(self) -> None:
        """Start. Raises FastsaError if somebody else is profiling."""
        self._kineto.start()

    def stop(self) -> None:
        """Stop. Safe to call twice."""
        self._kineto.stop()

    def mark(self, name: str) -> None:
        """A named moment of the recording."""
        with event_tree.mark(name):
            pass

    def released(self, address: int) -> None:
        """A block from before the recording is released: the CPU allocator does not report it."""
        event_tree.mark_release(address)

    def read(self, modules: Mapping[int, str]) -> Trace:
        """What was recorded; `modules` gives the path of a module by its `id`."""
        results = self._kineto.take_results()
        reader = _Reader(self._device, modules, self._program)
        with no_collection():  # millions of young objects, none of them garbage, to look through
            trace = reader.read(results.experimental_event_tree())
        if self._device.type == "cuda":
            _use_device_time(trace, results, reader.correlations)
        return trace


class _Frame:
    """A Python frame; `source` is the user's line that is running in it or that called it."""

    __slots__ = ("is_user", "source")

    def __init__(self, source: str | None, is_user: bool) -> None:
        self.source = source
        self.is_user = is_user


@dataclass(slots=True)
class _Context:
    """What a node of the tree is inside of."""

    frame: _Frame
    module: str | None = None
    op: str | None = None
    call: int = 0
    key: Key | None = None
    forward: Place | None = None  # in a backward node: the place of its forward
    phase: Phase | None = None  # backward or optimizer

    def inside(self, **changes: Any) -> _Context:
        context = _Context(
            self.frame, self.module, self.op, self.call, self.key, self.forward, self.phase
        )
        for name, value in changes.items():
            setattr(context, name, value)
        return context

    @property
    def place(self) -> Place:
        if self.forward is not None:
            module, source = self.forward
            return (self.module or module, self.frame.source or source)
        return (self.module, self.frame.source)


class _Reader:
    """Walks the event tree in the order of time."""

    def __init__(self, device: torch.device, modules: Mapping[int, str], program: Program) -> None:
        self.device = device
        self.modules = modules
        self.program = program
        self.trace = Trace()
        self.between: Phase = "other"  # what ops belong to outside of backward and optimizer
        self.calls = 0
        self.correlations: dict[int, Key] = {}

    def read(self, roots: list[Any]) -> Trace:
        event_tree.walk(roots, _Context(_Frame(None, False)), self.visit)
        self.trace.blocks.sort(key=lambda block: block.nanoseconds)
        clock = [block.nanoseconds for block in self.trace.blocks]
        self.trace.marks = {name: bisect_left(clock, at) for name, at in self.trace.times.items()}
        return self.trace

    def visit(self, node: Any, context: _Context) -> _Context:
        kind = node.tag
        if kind == _EventType.Allocation:
            self.allocation(node, context)
            return context
        if kind == _EventType.TorchOp:
            return self.torch_op(node, context)
        if kind == _EventType.PyCall:
            return self.python_call(node.extra_fields, context)
        if kind == _EventType.PyCCall:
            self.called_from(node.extra_fields.caller, context.frame)
        return context

    def allocation(self, node: Any, context: _Context) -> None:
        detail = event_tree.allocation_on(node, self.device)
        if detail is None:
            return
        self.trace.blocks.append(
            TracedBlock(
                node.start_time_ns,
                detail.alloc_size,
                detail.ptr,
                detail.total_allocated,
                context.call,
                context.op,
                context.phase or self.between,
                context.place,
            )
        )

    # Python

    def python_call(self, detail: Any, context: _Context) -> _Context:
        self.called_from(detail.caller, context.frame)
        callee = self.program.user_line(detail.callsite.file_name, detail.callsite.line_number)
        frame = _Frame(callee or context.frame.source, callee is not None)
        inner = context.inside(frame=frame)
        if detail.module is not None:
            inner.module = self.modules.get(detail.module.self_ptr, inner.module)
        if detail.callsite.file_name.endswith(_OPTIMIZER):  # its step, its zero_grad
            inner.phase = "optimizer"
        return inner

    def called_from(self, caller: Any, frame: _Frame) -> None:
        """The line of the last call tells where a frame is: operators alone leave no trace."""
        if frame.is_user:
            frame.source = (
                self.program.user_line(caller.file_name, caller.line_number) or frame.source
            )

    # Ops

    def torch_op(self, node: Any, context: _Context) -> _Context:
        mark = event_tree.mark_of(node)
        if mark is not None:
            self.mark(mark, node.start_time_ns)
            return context
        name, detail = node.name, node.extra_fields
        if name.startswith(_NODE):
            return self.backward_node(node, name.removeprefix(_NODE), context)
        if detail.scope != RecordScope.FUNCTION:
            return context
        return self.op(node, name, detail.sequence_number, context)

    def mark(self, name: str, at: int) -> None:
        if name.startswith(event_tree.RELEASED):
            address = int(name.removeprefix(event_tree.RELEASED))
            self.trace.blocks.append(TracedBlock(at, 0, address))
            return
        self.trace.times[name] = at
        if name.startswith(FORWARD):
            self.between = "forward"
        elif name.startswith(BACKWARD):
            self.between = "other"

    def backward_node(self, node: Any, name: str, context: _Context) -> _Context:
        sequence = node.extra_fields.sequence_number
        _, place = self.trace.forwards.get(sequence, (None, (None, None)))
        run = NodeRun(name, sequence, node.start_time_ns, node.end_time_ns, place[0])
        self.trace.nodes.append(run)
        # Python above the engine is the line of `backward()`: the forward's own says more.
        return context.inside(
            phase="backward", forward=place, module=None, frame=_Frame(None, False), op=None, call=0
        )

    def op(self, node: Any, name: str, sequence: int, context: _Context) -> _Context:
        if name in event_tree.PLUMBING and context.op is not None:
            return context
        if sequence >= 0 and context.phase is None:
            self.trace.forwards[sequence] = (name, context.place)
        key = (name, context.phase or self.between, context.place)
        self.spend(key, context.key, node.end_time_ns - node.start_time_ns)
        self.correlations[node.correlation_id] = key
        call = context.call
        if not call:
            self.calls += 1
            call = self.calls
        return context.inside(op=name, call=call, key=key)

    def spend(self, key: Key, outer: Key | None, spent: int) -> None:
        """Time counts for the innermost op only."""
        seconds = self.trace.seconds
        entry = seconds.setdefault(key, [0, 0])
        entry[0] += 1
        entry[1] += spent
        if outer is not None:
            seconds[outer][1] -= spent


def _use_device_time(trace: Trace, results: Any, ops: Mapping[int, Key]) -> None:
    """CUDA: replace the clock's time of ops by that of the kernels they started.

    `ops` are those of the tree by correlation id, which kernels are linked to.
    """
    for entry in trace.seconds.values():
        entry[1] = 0
    for event in results.events():
        if event.device_type() == DeviceType.CUDA:
            key = ops.get(event.linked_correlation_id())
            if key is not None:
                trace.seconds[key][1] += event.duration_ns()
