"""Learner: what a job learns of its step once one was recorded."""

from __future__ import annotations

import msgspec

from fastsa.capture.joint_graph import Capture
from fastsa.capture.region import Region
from fastsa.planner.graph import Graph
from fastsa.runtime.decisions import Decisions
from fastsa.runtime.step_monitor import StepMonitor


class Learned(msgspec.Struct, frozen=True):
    """What one recorded step has taught.

    Args:
        peak_bytes: Of the process, in that step; None if it was not measured.
        step: The graph of the step, if it was not known and can be.
        is_over: Whether the peak is above the budget.
        is_another: Whether what is in force was planned for another step than this one.
    """

    peak_bytes: int | None
    step: Graph | None = None
    is_over: bool = False
    is_another: bool = False


class Learner:
    """Keeps what the regions were captured as until a step was recorded."""

    def __init__(self) -> None:
        self._captures: dict[Region, Capture] | None = {}

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be learned any more."""
        return self._captures is None

    def planned(self, region: Region, captured: Capture | None) -> None:
        """A region has got its plan. Of one that was not traced nothing can be learned."""
        if captured is None:
            self._captures = None
        elif self._captures is not None:
            self._captures[region] = captured

    def start_again(self) -> None:
        """All regions are captured again."""
        self._captures = {}

    def learn(self, watch: StepMonitor, decisions: Decisions, model: str) -> Learned:
        """What the step that `watch` has recorded says of the decisions in force."""
        captures, self._captures = self._captures, None
        peak = watch.check.peak_bytes
        if captures is None:  # it has been learned from an earlier one
            return Learned(peak)
        budget = decisions.process_budget_bytes
        is_over = peak is not None and budget is not None and peak > budget
        ran = [captures[each].graph.hash() for each in watch.regions if each in captures]
        regions = decisions.planned_as(ran)
        if decisions.are_of(regions) and not is_over and not decisions.are_off(peak):
            return Learned(peak)
        step = watch.step_graph(decisions.measured(captures), model)
        is_provisional = any(d.is_provisional for d in decisions)
        is_another = is_over or is_provisional or decisions.are_of_another(regions)
        return Learned(peak, step, is_over, is_another)
