"""Stages: what the recorder does in which step of a script."""

from __future__ import annotations

import time
from enum import IntEnum

MOST_PASSED = 16


class Stage(IntEnum):
    """Step by step, counted from 0."""

    BEFORE = -1
    FIRST = 0  # recorded in case there is no other
    WARM = 1  # timed too
    TIMED = 2
    RECORD = 3  # the plain step that is recorded
    CAPTURE = 4  # the models are captured and measured op by op
    EAGER = 5  # what happens outside of the captured regions is recorded
    DONE = 6


class StageProgress:
    """Which stage the recorder has come to, and what the timed steps took.

    Attributes:
        stage: Of the step that runs.
        completed: Of the last step that has come to its end.
        timed_seconds: The faster of the two timed steps; None before they are over.
    """

    def __init__(self) -> None:
        self.stage = Stage.BEFORE
        self.completed = Stage.BEFORE
        self.timed_seconds: float | None = None
        self._starts: dict[Stage, float] = {}
        self._passed = 0  # steps of another shape than the first's

    def step_begins(self, now: float, *, is_usual: bool) -> bool:
        """Go to the next stage, unless this step has to pass.

        What is recorded and captured has one shape: other steps pass, some of them.

        Args:
            now: The moment, by `time.perf_counter`.
            is_usual: Whether the step has the shape of the first.

        Returns:
            Whether it has gone on.
        """
        if self.stage == Stage.TIMED and self.timed_seconds is None:
            first, second = self._starts[Stage.WARM], self._starts[Stage.TIMED]
            self.timed_seconds = min(second - first, now - second)
        following = Stage(min(self.stage + 1, Stage.DONE))
        if following in (Stage.RECORD, Stage.CAPTURE, Stage.EAGER) and not is_usual:
            self._passed += 1
            if self._passed <= MOST_PASSED:
                return False
        self.stage = following
        return True

    def stage_has_begun(self) -> None:
        """Our own work at the beginning of the stage is done: from here on it is timed."""
        self._starts[self.stage] = time.perf_counter()

    def step_ended(self) -> None:
        """The step of this stage has come to its end."""
        self.completed = self.stage
