"""CPU allocator: every allocation and release, as torch's CPU allocator reports them.

Source: the [memory] events of torch.profiler (c10/core/CPUAllocator.cpp,
`ProfiledCPUMemoryReporter`). A release is reported only for a block that was allocated while
recording: recording starts one step before the step that counts, or looks for what is alive.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

import torch
from torch._C._profiler import _EventType

from fastsa.instrumentation import event_tree
from fastsa.instrumentation.allocators.events import Event, locate
from fastsa.instrumentation.garbage import no_collection
from fastsa.instrumentation.kineto import Kineto
from fastsa.instrumentation.storages import StorageFinalizers, live_storages

_CPU = torch.device("cpu")


class CpuAllocator:
    """An `Allocator` that records the CPU allocator of this process.

    If the program starts a profiler of its own meanwhile, there are no events and no spans.
    With `alive`, what is alive at the beginning is looked for, and its releases are events too.
    """

    def __init__(self, *, alive: bool = False) -> None:
        self.events: list[Event] = []
        self.spans: dict[str, tuple[int, int]] = {}
        self._kineto = Kineto(_CPU)
        self._alive = alive
        self._sizes: dict[int, int] = {}
        self._finalizers: StorageFinalizers | None = None

    def __enter__(self) -> Self:
        with no_collection():  # what would be collected between looking and tracing would be missed
            if self._alive:
                self._sizes = {at: each.bytes for at, each in live_storages(_CPU).items()}
                self._finalizers = StorageFinalizers(_CPU, {}, event_tree.mark_release)
            self._kineto.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kineto.stop()
        if self._finalizers is not None:
            self._finalizers.close()
        results = self._kineto.take_results()
        if not self._kineto.was_interrupted:
            self.events, times = _read(results.experimental_event_tree(), self._sizes)
            self.spans = locate(self.events, times)

    def span(self, name: str) -> AbstractContextManager[object]:
        """A named span of the recording."""
        return event_tree.mark(name)


def _read(
    roots: list[Any], sizes: Mapping[int, int]
) -> tuple[list[Event], dict[str, tuple[int, int]]]:
    events: list[Event] = []
    spans: dict[str, tuple[int, int]] = {}

    def visit(node: Any, op: str | None) -> str | None:
        allocation, name = event_tree.allocation_on(node, _CPU), event_tree.mark_of(node)
        if allocation is not None:
            events.append(Event(node.start_time_ns, allocation.alloc_size, allocation.ptr, op))
        elif name is not None and name.startswith(event_tree.RELEASED):
            address = int(name.removeprefix(event_tree.RELEASED))
            events.append(Event(node.start_time_ns, -sizes.get(address, 0), address, op))
        elif name is not None:
            spans[name] = (node.start_time_ns, node.end_time_ns)
        elif node.tag == _EventType.TorchOp and node.name not in event_tree.PLUMBING:
            own: str = node.name
            return own
        return op

    event_tree.walk(roots, None, visit)
    events.sort(key=lambda event: event.nanoseconds)
    return events, spans
