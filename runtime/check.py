"""Check: the measured peak and step time of a planned job, to hold against the prediction."""

from __future__ import annotations

import statistics
import time

import torch

from fastsa.profiler.allocator import Allocator, Event, is_taken, peak_delta, recorder
from fastsa.profiler.cupy_memory import CupyAllocator
from fastsa.profiler.resident import live_bytes

LEAD_IN, RECORD = 1, 2


class StepCheck:
    """Told of each step's beginning and end, records the third step for its peak.

    Steps that run while the allocator is recorded, and the first, are left out of the step time.
    While somebody else profiles, nothing is recorded.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak_bytes: int | None = None
        self.resident_bytes: int | None = None
        self.steps = 0
        self._allocator: Allocator | None = None
        self._cupy = CupyAllocator(device)
        self._start = 0
        self._last: float | None = None
        self._seconds: list[float] = []

    @property
    def step_seconds(self) -> float | None:
        """Median seconds of the steps that were not disturbed, None if there was none."""
        return statistics.median(self._seconds) if self._seconds else None

    def step_begins(self, step: int) -> None:
        """Step `step` (from 0) is about to begin."""
        now = time.perf_counter()
        if self._last is not None and step > RECORD + 1:
            self._seconds.append(now - self._last)
        self.steps = step + 1
        if step == LEAD_IN and not is_taken(self.device):
            self._allocator = recorder(self.device).__enter__()
            self._cupy.__enter__()
        elif step == RECORD and self._allocator is not None:
            with self._allocator.span("step"):
                pass
            self._start = time.time_ns()
            self.resident_bytes = live_bytes(self.device)
        self._last = time.perf_counter()

    def step_ended(self, step: int) -> None:
        """The optimizer of step `step` has stepped."""
        if step == RECORD:
            self.close()

    def close(self) -> None:
        """End a recording that is still on."""
        allocator, self._allocator = self._allocator, None
        if allocator is None:
            return
        self._cupy.__exit__(None, None, None)
        allocator.__exit__(None, None, None)
        if self.resident_bytes is not None and "step" in allocator.spans:
            events = allocator.events[allocator.spans["step"][0] :]
            self.peak_bytes = self.resident_bytes + peak_delta(self._with_cupy(events))

    def _with_cupy(self, events: list[Event]) -> list[Event]:
        others = [event for event in self._cupy.events if event.nanoseconds >= self._start]
        if not others:
            return events
        return sorted(events + others, key=lambda event: event.nanoseconds)
