"""CUDA allocator: every allocation and release, from the caching allocator's history.

Source: `torch.cuda.memory._record_memory_history` and `_snapshot` (device_traces). An "alloc" is
counted when it is made and a release when the program asks for it ("free_requested"), which is
how `torch.cuda.memory_allocated` counts. The history has the sizes asked for; they are rounded here
as the allocator does, which leaves out what it cannot split off a large block.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self

import torch

from fastsa.instrumentation.allocators.events import Event, locate, rounded

MAX_EVENTS = 2_000_000  # a ring: the oldest events are dropped beyond this


class CudaAllocator:
    """An `Allocator` that records the caching allocator of one CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self.events: list[Event] = []
        self.spans: dict[str, tuple[int, int]] = {}
        self._device = device
        self._times: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        torch.cuda.memory._record_memory_history(
            "all", context="all", stacks="python", max_entries=MAX_EVENTS
        )
        self._start = time.time_ns()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        snapshot = torch.cuda.memory._snapshot(self._device)
        torch.cuda.memory._record_memory_history(None)
        traces = snapshot["device_traces"][_index(self._device)]
        self.events = [e for e in map(_event, traces) if e and e.nanoseconds >= self._start]
        self.spans = locate(self.events, self._times)

    def span(self, name: str) -> AbstractContextManager[object]:
        """A named span of the recording."""
        return self._timed(name)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.time_ns()
        try:
            yield
        finally:
            self._times[name] = (start, time.time_ns())


def _index(device: torch.device) -> int:
    index: int | None = device.index  # torch's stubs deny that it may be None
    return torch.cuda.current_device() if index is None else index


def _event(entry: dict[str, Any]) -> Event | None:
    sign = {"alloc": 1, "free_requested": -1}.get(entry["action"])
    if sign is None:
        return None
    frame = _user_frame(entry.get("frames", ()))
    return Event(
        nanoseconds=int(entry["time_us"]) * 1000,
        bytes=sign * rounded(int(entry["size"]), torch.device("cuda")),
        address=int(entry["addr"]),
        op=None if frame is None else str(frame["name"]),
        source=None if frame is None else f"{frame['filename']}:{frame['line']}",
    )


def _user_frame(frames: Any) -> dict[str, Any] | None:
    for frame in frames:
        name = str(frame["filename"])
        if name.endswith(".py") and "/torch/" not in name and "/fastsa/" not in name:
            found: dict[str, Any] = frame
            return found
    return None
