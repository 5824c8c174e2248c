"""CPU allocator: every allocation and release, as torch's CPU allocator reports them.

Source: the [memory] events of torch.profiler (c10/core/CPUAllocator.cpp,
`ProfiledCPUMemoryReporter`). A release is reported only for a block that was allocated while
recording, so recording starts one step before the step that counts.
"""

from __future__ import annotations

import gc
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import torch
from torch._C._profiler import _EventType, _RecordFunctionFast
from torch.autograd.profiler import profile as autograd_profile
from torch.profiler import ProfilerActivity, profile

from fastsa.errors import FastsaError
from fastsa.profiler.allocator import Event, locate

_SPAN = "fastsa:"
_PLUMBING = frozenset(
    {"aten::empty", "aten::empty_strided", "aten::empty_like", "aten::resize_", "aten::new_empty"}
)


class CpuAllocator:
    """An `Allocator` that records the CPU allocator of this process."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.spans: dict[str, tuple[int, int]] = {}
        self._profile = profile(
            activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
        )

    def __enter__(self) -> Self:
        if torch._C._autograd._profiler_enabled():
            raise FastsaError(
                "somebody else is using torch.profiler, and two cannot record at a time",
                hint="switch the script's own profiler off",
            )
        self._profile.__enter__()
        _ours.update((self._profile, self._profile.profiler))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._profile.__exit__(kind, error, trace)
        results: Any = self._profile.profiler.kineto_results  # type: ignore[union-attr]
        self.events, times = _read(results.experimental_event_tree())
        self.spans = locate(self.events, times)

    def span(self, name: str) -> AbstractContextManager[object]:
        """A named stretch of the recording."""
        context: AbstractContextManager[object] = _RecordFunctionFast(_SPAN + name)
        return context


_ours: WeakSet[Any] = WeakSet()


def somebody_profiles() -> bool:
    """Whether the program profiles itself, or has a torch profiler that it may start any time.

    Two recordings at once spoil each other without a word.
    """
    if torch._C._autograd._profiler_enabled():
        return True
    return any(
        issubclass(type(item), (profile, autograd_profile)) and item not in _ours
        for item in gc.get_objects()
    )


def _read(roots: list[Any]) -> tuple[list[Event], dict[str, tuple[int, int]]]:
    events: list[Event] = []
    spans: dict[str, tuple[int, int]] = {}
    stack: list[tuple[Any, str | None]] = [(root, None) for root in roots]
    while stack:
        node, op = stack.pop()
        kind, detail = node.typed
        if kind == _EventType.Allocation and detail.device == torch.device("cpu"):
            events.append(Event(node.start_time_ns, detail.alloc_size, detail.ptr, op))
        elif kind == _EventType.TorchOp and node.name.startswith(_SPAN):
            spans[node.name.removeprefix(_SPAN)] = (node.start_time_ns, node.end_time_ns)
        elif kind == _EventType.TorchOp and node.name not in _PLUMBING:
            op = node.name
        stack += [(child, op) for child in node.children]
    events.sort(key=lambda event: event.nanoseconds)
    return events, spans
