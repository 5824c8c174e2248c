"""Decisions: the plans that a job trains with, and which region runs in which order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fastsa.capture.joint_graph import Capture
from fastsa.capture.region import Region
from fastsa.capture.step_graph import JoinedRegion
from fastsa.planner.graph import Graph
from fastsa.planner.step import Order, region_names
from fastsa.planner.validation import validate_order
from fastsa.records.margin import TOLERANCE_SHARE
from fastsa.runtime.decision import Decision
from fastsa.runtime.shapes import Shapes


class Decisions:
    """Those in force. Captured regions are known by their hashes."""

    def __init__(self) -> None:
        self._all: list[Decision] = []
        self._shapes = Shapes()
        self._like: dict[str, str] = {}  # captured region -> the one whose order it runs in
        self._whole: set[str | None] = set()  # regions that were all of a model before

    def __iter__(self) -> Iterator[Decision]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def first(self) -> Decision:
        """The one that was made first."""
        return self._all[0]

    @property
    def leading(self) -> Decision:
        """The one that predicts the step's peak."""
        return max(self._all, key=lambda d: d.predicted_peak_bytes)

    @property
    def process_budget_bytes(self) -> int | None:
        """What the job has made of the budget, once it knows the step."""
        return next((d.process_budget_bytes for d in self._all if not d.is_provisional), None)

    # Changes ----------------------------------------------------------------------------------

    def add(self, decision: Decision) -> None:
        """Another region has got its plan."""
        self._all.append(decision)

    def start_again(self) -> None:
        """Every region is decided anew; what was all of a model is so still."""
        self._whole = {d.captured_hash for d in self._all}
        self._all = []

    def replace(self, decision: Decision) -> None:
        """One decision for the whole step comes in place of all others."""
        self._all = [decision]
        self._shapes, self._like = Shapes(), {}

    # Regions ----------------------------------------------------------------------------------

    def covering(self, captured_hash: str) -> Decision | None:
        """The one made for a step that a captured region is a part of."""
        return next((d for d in self._all if d.covers(captured_hash)), None)

    def alike(self, captured: Graph) -> Decision | None:
        """The one of the same region with larger sizes, whose order this one then runs in."""
        like = self._shapes.plan_of(captured)
        if like is None:
            return None
        of_region = (d for d in self._all if d.captured_hash == like)
        decision = self.covering(like) or next(of_region, None)
        if decision is not None:
            self._like[captured.hash()] = like
        return decision

    def is_only(self, captured: Graph) -> bool:
        """Whether the one region that has been planned is this one, of other sizes."""
        return len(self._shapes) == 1 and captured in self._shapes

    def was_whole(self, captured_hash: str) -> bool:
        """Whether a region was all of a model before everything was decided anew."""
        return captured_hash in self._whole

    def order(self, decision: Decision, captured: Graph) -> Order:
        """What a decision means for a captured region. Raises IllegalPlan.

        The graph it was planned on may be anybody's: what may run twice is what this one says.
        """
        name = captured.hash()
        if name not in self._like:
            self._shapes.add(captured)
        order = decision.order(self._like.get(name, name))
        validate_order(captured, order)
        return order

    # Compared with the recorded step ------------------------------------------------------------

    def planned_as(self, captured_hashes: Iterable[str]) -> set[str]:
        """The regions in whose orders some captured regions run."""
        return {self._like.get(name, name) for name in captured_hashes}

    def are_of(self, regions: set[str]) -> bool:
        """Whether all of them are of a step with just these regions."""
        return all(regions == set(region_names(d.graph)) - {""} for d in self._all)

    def are_of_another(self, regions: set[str]) -> bool:
        """Whether one of them is of a step with other regions than those that ran."""
        return any(
            region_names(d.graph) and regions != set(region_names(d.graph)) - {""}
            for d in self._all
        )

    def are_off(self, peak_bytes: int | None) -> bool:
        """Whether the step takes so much more or less that it is another than was recorded."""
        if peak_bytes is None:
            return False
        predicted = self.leading.predicted_peak_bytes
        return abs(peak_bytes - predicted) > TOLERANCE_SHARE * predicted

    def measured(self, captures: Mapping[Region, Capture]) -> dict[Region, JoinedRegion]:
        """Captured regions with the measured graphs that are known of them."""
        known = {}
        for region, captured in captures.items():
            for decision in self._all:
                graph = decision.measured(captured.graph)
                if graph is not None:
                    known[region] = JoinedRegion(captured, graph)
        return known
