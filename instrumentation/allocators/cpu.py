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
from torch._C._profiler import _EventType, _RecordFunctionFast

from fastsa.instrumentation.allocators.events import Event, locate
from fastsa.instrumentation.garbage import no_collection
from fastsa.instrumentation.kineto import Kineto
from fastsa.instrumentation.storages import StorageFinalizers, live_storages

_SPAN = "fastsa:"
_GONE = "gone "
_PLUMBING = frozenset(
    {"aten::empty", "aten::empty_strided", "aten::empty_like", "aten::resize_", "aten::new_empty"}
)


class CpuAllocator:
    """An `Allocator` that records the CPU allocator of this process.

    If the program starts a profiler of its own meanwhile, there are no events and no spans.
    With `alive`, what is alive at the beginning is looked for, and its releases are events too.
    """

    def __init__(self, *, alive: bool = False) -> None:
        self.events: list[Event] = []
        self.spans: dict[str, tuple[int, int]] = {}
        self._kineto = Kineto(torch.device("cpu"))
        self._alive = alive
        self._sizes: dict[int, int] = {}
        self._deaths: StorageFinalizers | None = None

    def __enter__(self) -> Self:
        with no_collection():  # what would be collected between looking and tracing would be missed
            if self._alive:
                device = torch.device("cpu")
                self._sizes = {at: each.bytes for at, each in live_storages(device).items()}
                self._deaths = StorageFinalizers(device, {}, self._gone)
            self._kineto.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kineto.stop()
        if self._deaths is not None:
            self._deaths.close()
        results = self._kineto.take_results()
        if not self._kineto.was_interrupted:
            self.events, times = _read(results.experimental_event_tree(), self._sizes)
            self.spans = locate(self.events, times)

    def _gone(self, address: int) -> None:
        with self.span(f"{_GONE}{address}"):
            pass

    def span(self, name: str) -> AbstractContextManager[object]:
        """A named stretch of the recording."""
        context: AbstractContextManager[object] = _RecordFunctionFast(_SPAN + name)
        return context


def _read(
    roots: list[Any], sizes: Mapping[int, int]
) -> tuple[list[Event], dict[str, tuple[int, int]]]:
    events: list[Event] = []
    spans: dict[str, tuple[int, int]] = {}
    stack: list[tuple[Any, str | None]] = [(root, None) for root in roots]
    while stack:
        node, op = stack.pop()
        kind, detail = node.typed
        if kind == _EventType.Allocation and detail.device == torch.device("cpu"):
            events.append(Event(node.start_time_ns, detail.alloc_size, detail.ptr, op))
        elif kind == _EventType.TorchOp and node.name.startswith(_SPAN + _GONE):
            address = int(node.name.removeprefix(_SPAN + _GONE))
            size = sizes.get(address, 0)
            events.append(Event(node.start_time_ns, -size, address, op))
        elif kind == _EventType.TorchOp and node.name.startswith(_SPAN):
            spans[node.name.removeprefix(_SPAN)] = (node.start_time_ns, node.end_time_ns)
        elif kind == _EventType.TorchOp and node.name not in _PLUMBING:
            op = node.name
        stack += [(child, op) for child in node.children]
    events.sort(key=lambda event: event.nanoseconds)
    return events, spans
