"""Decision: a plan for a captured region or a step, and how its budget is made up."""

from __future__ import annotations

from typing import Literal

import msgspec

from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.planner.step import Order, calls_of, region_graph, region_names, region_order
from fastsa.records.verdict import Verdict


class Decision(msgspec.Struct, frozen=True):
    """A plan for a region, and how its budget is made up.

    Bytes are the whole process's on the device unless they are the plan's. Those of the unplanned
    step are measured if `profiled`, its seconds if `timed`; else they are predicted.
    """

    plan: Plan
    plan_id: str | None
    origin: Literal["found", "made"]
    graph: Graph
    device: str
    versions: dict[str, str]
    process_budget_bytes: int
    resident_bytes: int
    unplanned_peak_bytes: int
    unplanned_step_seconds: float
    profiled: bool
    timed: bool
    model: str
    shape: str
    captured_hash: str | None = None  # of the one region it is for
    is_provisional: bool = False  # until the step is known that it is a part of
    state_bytes: int = 0  # of generators, at most, which no value of the graph stands for
    margin_bytes: int = 0  # of the budget, kept free since a run took more than predicted
    unkept_margin_bytes: int = 0  # the same, where no plan fits with it
    verdict: Verdict | None = None  # the latest on the plan

    def covers(self, captured_hash: str) -> bool:
        """Whether a captured region is planned by this, as a part of the step."""
        return bool(calls_of(self.graph, captured_hash))

    def measured(self, captured: Graph) -> Graph | None:
        """A captured region's graph as it was measured; None if it is another region's.

        Out of a step, the eager code outside of the region is left as the capture has it.
        """
        name = captured.hash()
        if region_names(self.graph):
            return region_graph(self.graph, name, captured) if self.covers(name) else None
        return self.graph if name == self.captured_hash else None

    def order(self, captured_hash: str) -> Order:
        """What the plan means for a captured region. Raises IllegalPlan."""
        if not region_names(self.graph):
            return Order(self.plan.sequence, self.plan.segment_starts)
        return region_order(self.graph, self.plan, captured_hash)

    @property
    def predicted_peak_bytes(self) -> int:
        """Resident, the plan's peak, and the generator states that its repeats run from."""
        return self.resident_bytes + self.plan.peak_bytes + self.state_bytes

    @property
    def predicted_step_seconds(self) -> float:
        """The unplanned step stretched by what the plan adds."""
        if not self.plan.base_seconds:
            return self.unplanned_step_seconds
        return self.unplanned_step_seconds * self.plan.seconds / self.plan.base_seconds
