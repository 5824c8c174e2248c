"""Step monitor: the steps of a planned job, one of them recorded for its peak and its graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from fastsa.capture.calls import CallLog
from fastsa.capture.region import Region
from fastsa.capture.step_graph import JoinedRegion, step_graph
from fastsa.instrumentation.allocators.events import Allocator
from fastsa.instrumentation.step_clock import StepClock
from fastsa.planner.graph import Graph
from fastsa.runtime.step_measurement import StepMeasurement


class StepMonitor:
    """Told of forwards; tells `on_record` once the recorded step is over, until it is closed.

    While that step runs, `log` is where its regions say what runs.
    """

    def __init__(self, device: torch.device, on_record: Callable[[], None]) -> None:
        self.check = StepMeasurement(device, self._record_begins)
        self.log: CallLog[Region] | None = None
        self._logged: CallLog[Region] | None = None
        self._on_record = on_record
        self._clock = StepClock(self.check.step_begins, self._step_ended)

    def forward_begins(self) -> None:
        """A forward of a planned region begins, and with it perhaps a step."""
        self._clock.forward()

    def _record_begins(self, allocator: Allocator) -> None:
        self.log = self._logged = CallLog(allocator)

    def _step_ended(self, step: int) -> None:
        self.check.step_ended(step)
        if self.check.record is not None:
            self.log = None
            self._on_record()
            self.check.record = self._logged = None  # what it saw is large

    @property
    def regions(self) -> set[Region]:
        """Those that ran in the recorded step, forward and backward."""
        calls = self._logged.calls if self._logged is not None else ()
        return {call.region for call in calls if call.whole}

    def step_graph(self, parts: Mapping[Region, JoinedRegion], name: str) -> Graph | None:
        """The graph of the recorded step; None if there is none. To be called by `on_record`."""
        record = self.check.record
        if record is None or self._logged is None:
            return None
        return step_graph(
            parts,
            self._logged.calls,
            record.events,
            record.spans,
            name=name,
            resident_bytes=record.resident_bytes,
        )

    def start_again(self) -> None:
        """Another plan runs from now on: record a step again."""
        self.check.start_again()

    def make_way(self) -> None:
        """Others need the profiler: if this step is being recorded, a later one will be."""
        self.log = self._logged = None
        self.check.make_way()
        self.check.record = None

    def close(self) -> None:
        """Stop watching."""
        self.log = None
        self._clock.close()
        self.check.close()
