"""Decision: which plan a captured region gets under a budget, found in the store or made now."""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import torch

from fastsa.cache.keys import PlanKey
from fastsa.cache.store import Store
from fastsa.errors import FastsaError, IllegalPlan, InfeasibleBudget
from fastsa.planner.budget import format_bytes
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.planner.solve import PLANNER_VERSION, plan
from fastsa.planner.step import Order, calls_of, region_names, region_order
from fastsa.planner.validation import validate
from fastsa.profiler.capture import Capture
from fastsa.profiler.device import available_bytes, device_name, versions
from fastsa.profiler.resident import live_bytes, pending_optimizer_bytes
from fastsa.profiler.timing import measure
from fastsa.runtime.settings import Settings

CLOSE_ENOUGH = 0.98  # a stored plan made for at least this share of the budget is not planned again


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
    budget_bytes: int
    resident_bytes: int
    unplanned_peak_bytes: int
    unplanned_step_seconds: float
    profiled: bool
    timed: bool
    model: str
    shape: str

    def covers(self, captured_hash: str) -> bool:
        """Whether a captured region is planned by this, as a part of the step."""
        return bool(calls_of(self.graph, captured_hash))

    def order(self, captured: Graph) -> Plan | Order:
        """What the plan means for a captured region. Raises IllegalPlan."""
        if not region_names(self.graph):
            return self.plan
        return region_order(self.graph, self.plan, captured.hash(), captured)

    @property
    def predicted_peak_bytes(self) -> int:
        """Resident plus the plan's peak."""
        return self.resident_bytes + self.plan.peak_bytes

    @property
    def predicted_step_seconds(self) -> float:
        """The unplanned step stretched by what the plan adds."""
        if not self.plan.base_seconds:
            return self.unplanned_step_seconds
        return self.unplanned_step_seconds * self.plan.seconds / self.plan.base_seconds


def decide(
    captured: Capture,
    settings: Settings,
    store: Store | None,
    *,
    model: str,
    shape: str,
    budget_bytes: int | None = None,
) -> Decision:
    """Look a plan up, or make one within the time limit and store it.

    `budget_bytes` is what an earlier region of the job made of the budget: a share or `auto` means
    one number for the whole job.
    Without a profile every op is measured first, one at a time. Raises InfeasibleBudget, unless
    `settings.best_effort`, when the plan with the lowest peak is taken.
    """
    captured_hash, device = captured.graph.hash(), captured.device
    decider = _Decider(captured_hash, device, settings, store, model, shape, captured)
    return decider.decide(budget_bytes)


def recall(
    captured_hash: str,
    device: torch.device,
    settings: Settings,
    store: Store,
    *,
    model: str,
    shape: str,
    budget_bytes: int | None = None,
) -> Decision | None:
    """What `decide` would say of a graph captured earlier; None if it would measure or plan."""
    name = device_name(device)
    if not store.step_graph(captured_hash, name) and not store.measured_graph(captured_hash, name):
        return None
    decider = _Decider(captured_hash, device, settings, store, model, shape)
    return decider.recall(budget_bytes)


class _Decider:
    def __init__(
        self,
        captured_hash: str,
        device: torch.device,
        settings: Settings,
        store: Store | None,
        model: str,
        shape: str,
        captured: Capture | None = None,  # None if its graph is in the store
    ) -> None:
        self.captured_hash = captured_hash
        self.settings = settings
        self.store = store
        self.device = device
        self.name = device_name(device)
        self.versions = versions()
        self.model, self.shape = model, shape
        self.summary = store.measured_profile(self.captured_hash, self.name) if store else None
        self.step = store.step_graph(self.captured_hash, self.name) if store else None
        self.graph = self.step or self.region_graph(captured)
        self.key = PlanKey.of(
            self.graph.hash(), device=self.name, versions=self.versions, planner=PLANNER_VERSION
        )
        self.resident = self.resident_bytes()

    def region_graph(self, captured: Capture | None) -> Graph:
        """The captured graph, measured: by a profile, by an earlier job, or now."""
        store = self.store
        graph = store.measured_graph(self.captured_hash, self.name) if store else None
        if graph is None:
            assert captured is not None
            graph = measure(captured)
            if store:
                store.add_graph(graph, self.captured_hash)
        return graph

    def resident_bytes(self) -> int:
        if self.step is not None:
            return self.step.resident_bytes
        if self.summary is None:
            return live_bytes(self.device) + pending_optimizer_bytes(self.device)
        if self.device.type != "cuda":  # where counting means walking over all Python objects
            return self.summary.resident_bytes
        return max(self.summary.resident_bytes, live_bytes(self.device))

    def recall(self, budget_bytes: int | None) -> Decision | None:
        budget, unplanned = self.budget(budget_bytes)
        local = budget - self.resident
        found = self.found(local) if local > 0 else None
        if found is None or not self.good_enough(found[0], local):
            return None
        return self.decision(*found, "found", budget, unplanned)

    def budget(self, budget_bytes: int | None) -> tuple[int, int]:
        """The budget and the unplanned peak, in bytes of the whole process."""
        base = base_plan(self.graph)
        unplanned = self.summary.peak_bytes if self.summary else self.resident + base.peak_bytes
        return budget_bytes or self.budget_bytes(unplanned), unplanned

    def decide(self, budget_bytes: int | None) -> Decision:
        budget, unplanned = self.budget(budget_bytes)
        local = budget - self.resident
        found = self.found(local) if local > 0 else None
        if found is not None and self.good_enough(found[0], local):
            return self.decision(*found, "found", budget, unplanned)
        made = self.make(local, found[0] if found else None)
        if found is not None and (not made.fits or found[0].seconds <= made.seconds):
            return self.decision(*found, "found", budget, unplanned)
        if not made.fits:
            made = self.unmet(made, budget)
        return self.decision(made, self.keep(made), "made", budget, unplanned)

    def budget_bytes(self, unplanned: int) -> int:
        budget = self.settings.budget
        if budget.kind != "auto":
            return budget.resolve(unplanned)
        free = available_bytes(self.device, live_bytes(self.device))
        if free is None:
            raise FastsaError("nobody can say what this device has free", hint="give a size")
        return free

    def found(self, local: int) -> tuple[Plan, str] | None:
        stored = self.store.find_plan(self.key, local, self.legal) if self.store else None
        return None if stored is None else (stored.plan, stored.id)

    def legal(self, stored: Plan) -> bool:
        try:
            validate(self.graph, stored)
        except IllegalPlan:
            return False
        return True

    def good_enough(self, found: Plan, local: int) -> bool:
        """Whether planning again could not gain much over the fastest stored plan that fits."""
        if found.status == "optimal" or found.extra_seconds <= 0:
            return True
        if found.budget_bytes >= CLOSE_ENOUGH * local:
            return True
        # A curve has been searched at every budget: what is found is no slower than its plan.
        return self.store is not None and self.store.has_curve(self.key, local, found.base_seconds)

    def make(self, local: int, warm_start: Plan | None) -> Plan:
        return plan(
            self.graph,
            max(0, local),
            time_limit=self.settings.time_limit,
            threads=self.settings.threads,
            seed=self.settings.seed,
            warm_start=warm_start,
        )

    def unmet(self, made: Plan, budget: int) -> Plan:
        """The plan with the lowest peak found, to train with all the same, or InfeasibleBudget."""
        lowest = made
        if made.status == "infeasible":
            lowest = self.make(made.minimum_budget_bytes, None)
        if not self.settings.best_effort:
            raise infeasible(self.graph, lowest, budget, self.resident)
        return lowest

    def keep(self, made: Plan) -> str | None:
        return self.store.add_plan(made, self.key) if self.store else None

    def decision(
        self,
        chosen: Plan,
        plan_id: str | None,
        origin: Literal["found", "made"],
        budget: int,
        unplanned: int,
    ) -> Decision:
        seconds = self.summary.step_seconds if self.summary else None
        return Decision(
            plan=chosen,
            plan_id=plan_id,
            origin=origin,
            graph=self.graph,
            device=self.name,
            versions=self.versions,
            budget_bytes=budget,
            resident_bytes=self.resident,
            unplanned_peak_bytes=unplanned,
            unplanned_step_seconds=self.graph.base_seconds if seconds is None else seconds,
            profiled=self.summary is not None,
            timed=seconds is not None,
            model=self.model,
            shape=self.shape,
        )


def base_plan(graph: Graph) -> Plan:
    """The unplanned order as a plan: its peak is the base peak."""
    return plan(graph, (1 << 63) - 1, time_limit=0.0, iterations=0)


def infeasible(graph: Graph, lowest: Plan, budget: int, resident: int) -> InfeasibleBudget:
    """The error for a budget that is not met: the minimum, the op that sets it, what is reached."""
    minimum = resident + lowest.minimum_budget_bytes
    op = graph.ops[lowest.minimum_budget_op]
    where = " ".join(("", *(part for part in (op.module, op.source) if part)))
    floor = (
        f"the minimum is {format_bytes(minimum)} ({format_bytes(resident)} resident + "
        f"{format_bytes(lowest.minimum_budget_bytes)} for {op.target}{where})"
    )
    enough = rounded_up(resident + lowest.peak_bytes)
    if budget < minimum:
        what = f"a budget of {format_bytes(budget)} cannot be met: {floor}"
    else:
        seconds = f"{lowest.planner.wall_seconds:.1f} s"
        what = f"no plan within {format_bytes(budget)} was found in {seconds}: {floor}"
    return InfeasibleBudget(
        f"{what}, the lowest peak found is {enough}",
        hint=f"give {enough}, more --time-limit, or --best-effort to train at the lowest peak",
    )


def rounded_up(size: int) -> str:
    """Bytes as a budget that is no smaller."""
    return f"{math.ceil(size / 2**20 * 100) / 100:.2f} MiB"
