"""Step measurement: the peak and the step time of a job, to compare with the prediction."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from fastsa.instrumentation.allocators.cupy import CupyAllocator
from fastsa.instrumentation.allocators.events import Allocator, Event, net, peak_delta
from fastsa.instrumentation.allocators.recorder import is_taken, recorder
from fastsa.instrumentation.storages import live_bytes

LEAD_IN, RECORD = 1, 2


@dataclass(frozen=True)
class StepRecord:
    """What the allocator saw of one step and the one before; `resident_bytes` when it began to."""

    events: list[Event]
    spans: dict[str, tuple[int, int]]
    resident_bytes: int


class StepMeasurement:
    """Told of each step's beginning and end, records the third step for its peak.

    Steps that run while the allocator is recorded, and the first, are left out of the step time;
    so are those before `timed_from`, where somebody else slows them down. While somebody else
    profiles, nothing is recorded. `on_record` gets the allocator when the step that counts begins;
    `record` is what it saw.
    """

    def __init__(
        self,
        device: torch.device,
        on_record: Callable[[Allocator], None] = lambda allocator: None,
    ) -> None:
        self.device = device
        self.record: StepRecord | None = None
        self._on_record = on_record
        self._first = 0
        self.peak_bytes: int | None = None
        self.resident_bytes: int | None = None
        self.steps = 0
        self.timed_from = RECORD + 1
        self._allocator: Allocator | None = None
        self._cupy = CupyAllocator(device)
        self._start = 0
        self._last: float | None = None
        self._seconds: list[float] = []

    @property
    def step_seconds(self) -> float | None:
        """Median seconds of the steps that were not disturbed, None if there was none."""
        return statistics.median(self._seconds) if self._seconds else None

    @property
    def timed(self) -> int:
        """How many steps the step time is of."""
        return len(self._seconds)

    def step_begins(self, step: int) -> None:
        """Step `step` (from 0) is about to begin."""
        now = time.perf_counter()
        self.steps = step + 1
        step -= self._first
        if self._last is not None and step > self.timed_from:
            self._seconds.append(now - self._last)
        if step == LEAD_IN:
            # The tracer leaves cycles that hold what the first step passed between its graphs.
            gc.collect()
        if step == LEAD_IN and not is_taken(self.device):
            self._allocator = recorder(self.device).__enter__()
            self._cupy.__enter__()
        elif step == RECORD and self._allocator is not None:
            with self._allocator.span("step"):
                pass
            self._start = time.time_ns()
            self.resident_bytes = live_bytes(self.device)
            self._on_record(self._allocator)
        self._last = time.perf_counter()

    def step_ended(self, step: int) -> None:
        """The optimizer of step `step` has stepped."""
        if step - self._first == RECORD:
            self.close()

    def start_again(self) -> None:
        """Another plan runs from the next step on: count from there."""
        self.close()
        self._first = self.steps
        self.peak_bytes = self.resident_bytes = self._last = None
        self._seconds.clear()

    def make_way(self) -> None:
        """Others need the profiler: a step that is on is not recorded."""
        if self._allocator is not None:
            self.start_again()

    def close(self) -> None:
        """End a recording that is still on."""
        allocator, self._allocator = self._allocator, None
        if allocator is None:
            return
        self._cupy.__exit__(None, None, None)
        allocator.__exit__(None, None, None)
        if self.resident_bytes is not None and "step" in allocator.spans:
            first = allocator.spans["step"][0]
            events = allocator.events[first:]
            self.peak_bytes = self.resident_bytes + peak_delta(self._with_cupy(events))
            before = self.resident_bytes - net(allocator.events[:first])
            self.record = StepRecord(allocator.events, allocator.spans, before)

    def _with_cupy(self, events: list[Event]) -> list[Event]:
        others = [event for event in self._cupy.events if event.nanoseconds >= self._start]
        if not others:
            return events
        return sorted(events + others, key=lambda event: event.nanoseconds)
