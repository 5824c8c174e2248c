"""StepRecording: one recorded step, with what else the device tells meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from fastsa.instrumentation.nvml import DeviceWatch, watch
from fastsa.profiler.fragmentation import fragmentation
from fastsa.profiler.recorded import Recorded
from fastsa.profiler.recording import Recording
from fastsa.profiler.stages import Stage
from fastsa.records.profile import DeviceUse, Fragmentation

INTERRUPTED = "the script started a torch.profiler of its own meanwhile"


class StepRecording:
    """Records a step when it is told to; the last one that was recorded is kept.

    Attributes:
        running: The recording that is going on.
        stage: The stage that was recorded last.
        step: The number of that step.
        resident_bytes: What was there when it began.
        note: What is missing without making the profile incomplete.
    """

    def __init__(self) -> None:
        self.running: Recording | None = None
        self.stage = Stage.FIRST
        self.step = 0
        self.resident_bytes = 0
        self.note: str | None = None
        self._kept: Recording | None = None
        self._recorded: Recorded | None = None
        self._watch: DeviceWatch | None = None
        self._fragmentation: Fragmentation | None = None

    def start(
        self,
        device: torch.device,
        roots: Iterable[nn.Module],
        stage: Stage,
        step: int,
        *,
        compiles: bool,
    ) -> None:
        """Begin to record a step. See Recording for the arguments and what it raises."""
        self.running = Recording(device, roots, compiles=compiles)
        self.stage, self.step = stage, step
        self.resident_bytes = self.running.start_bytes
        self._watch = watch(device).__enter__()

    def stop(self, device: torch.device) -> str | None:
        """End the recording that is going on. Returns what went wrong."""
        recording, self.running = self.running, None
        if recording is None:
            return None
        recording.stop()
        self._fragmentation = fragmentation(device)
        if self._watch is not None:
            self._watch.__exit__(None, None, None)
            self.note = self._watch.missing
        self._kept = recording
        return INTERRUPTED if recording.was_interrupted else None

    def read(self) -> Recorded | None:
        """What happened in the step; None if none was recorded."""
        if self._kept is not None:
            self._recorded, self._kept = self._kept.read(), None
        return self._recorded

    def forget(self) -> None:
        """What was recorded is told otherwise."""
        self._recorded = None

    @property
    def fragmentation(self) -> Fragmentation | None:
        """Of the allocator's memory when the step was over."""
        return self._fragmentation

    @property
    def device_use(self) -> DeviceUse | None:
        """What the device itself said of its memory."""
        return self._watch.use if self._watch is not None else None
