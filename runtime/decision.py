"""Decision: which plan a captured region gets under a budget, found in the store or made now."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Literal

import msgspec
import torch

from fastsa.cache.keys import PlanKey
from fastsa.cache.sharing import sharing
from fastsa.cache.store import ProfileSummary, Store
from fastsa.errors import (
    FastsaError,
    FastsaWarning,
    IllegalPlan,
    InfeasibleBudget,
    StoreUnusable,
)
from fastsa.planner.budget import format_bytes
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.planner.solve import PLANNER_VERSION, certify, plan
from fastsa.planner.step import (
    Order,
    calls_of,
    region_graph,
    region_names,
    region_order,
    step_order,
)
from fastsa.planner.tied import is_tied
from fastsa.planner.validation import validate
from fastsa.profiler.accumulation import accumulating
from fastsa.profiler.capture import Capture
from fastsa.profiler.device import available_bytes, device_name, versions
from fastsa.profiler.generators import state_bytes
from fastsa.profiler.resident import live_bytes, pending_optimizer_bytes
from fastsa.profiler.timing import measure
from fastsa.runtime.background import background
from fastsa.runtime.settings import Settings
from fastsa.runtime.turn import Turn
from fastsa.runtime.verdict import Verdict

CLOSE_ENOUGH = 0.98  # a stored plan made for at least this share of the budget is not planned again
CLOSE_ENOUGH_AUTO = 0.75  # what a device has free is never the same twice


class Needs(msgspec.Struct, frozen=True):
    """What other ranks of the job need of a plan made on this one.

    The fullest of them holds `extra_resident_bytes` more than this one; `free_bytes` is the least
    that any may have, for a budget of `auto`.
    """

    extra_resident_bytes: int = 0
    free_bytes: int | None = None


ALONE = Needs()


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


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is decided on: a graph, and what is known of the job that runs it.

    `resident_bytes`: of the whole process, beside the graph's own; `summary`: of the profile that
    has the graph, if one has.
    """

    graph: Graph
    resident_bytes: int
    device: torch.device
    model: str
    shape: str
    captured_hash: str | None = None
    summary: ProfileSummary | None = None


def subject(
    captured: Capture, store: Store | None, *, model: str, shape: str, alone: bool = False
) -> Subject:
    """What is known of a captured region: the step it is a part of, or (`alone`) its own graph.

    A graph that neither a profile nor an earlier job has measured is measured now, op by op.
    """
    captured_hash, device = captured.graph.hash(), captured.device
    look = partial(known, captured_hash, device, store, model=model, shape=shape, alone=alone)
    found = look()
    if found is None and store:
        sharing().fetch_graph(store, captured_hash, device_name(device))
        found = look()
    if found is None:
        graph = measure(captured)
        if store:
            _if_possible(lambda: store.add_graph(graph, captured_hash), "a measured graph")
        sharing().graph_made(graph, captured_hash)
        found = _subject(graph, captured_hash, device, store, model, shape)
    if region_names(found.graph):
        return found
    return msgspec.structs.replace(found, graph=accumulating(found.graph, captured.accumulated))


def known(
    captured_hash: str,
    device: torch.device,
    store: Store | None,
    *,
    model: str,
    shape: str,
    alone: bool = False,
) -> Subject | None:
    """What a profile or an earlier job has measured of a captured region; None if none has."""
    if store is None:
        return None
    name = device_name(device)
    graph = None if alone else store.step_graph(captured_hash, name, model)
    graph = graph or store.measured_graph(captured_hash, name)
    if graph is None:
        return None
    return _subject(graph, captured_hash, device, store, model, shape)


def _subject(
    graph: Graph,
    captured_hash: str,
    device: torch.device,
    store: Store | None,
    model: str,
    shape: str,
) -> Subject:
    summary = store.measured_profile(captured_hash, device_name(device)) if store else None
    return Subject(
        graph=graph,
        resident_bytes=_resident_bytes(graph, device, summary),
        device=device,
        model=model,
        shape=shape,
        captured_hash=captured_hash,
        summary=summary,
    )


def _resident_bytes(graph: Graph, device: torch.device, summary: ProfileSummary | None) -> int:
    if region_names(graph):
        return graph.resident_bytes
    if summary is None:
        return live_bytes(device) + pending_optimizer_bytes(device)
    if device.type != "cuda":  # where counting means walking over all Python objects
        return summary.resident_bytes
    return max(summary.resident_bytes, live_bytes(device))


def decide(
    what: Subject,
    settings: Settings,
    store: Store | None,
    *,
    budget_bytes: int | None = None,
    needs: Needs = ALONE,
) -> Decision:
    """Look a plan up, or make one within the time limit and store it.

    `budget_bytes` is what an earlier decision of the job made of the budget: a share or `auto`
    means one number for the whole job. `needs` is what the job's other ranks need. Raises
    InfeasibleBudget, unless `settings.best_effort`, when the plan with the lowest peak is taken.
    """
    return _Decider(what, settings, store, needs).decide(budget_bytes)


def provisional(what: Subject, settings: Settings, store: Store | None) -> Decision:
    """The plan with the lowest peak found, for a region of a step that is not known yet."""
    return _Decider(what, settings, store, ALONE).lowest()


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
    what = known(captured_hash, device, store, model=model, shape=shape)
    return None if what is None else _Decider(what, settings, store, ALONE).recall(budget_bytes)


def keep_for(step: Graph, decision: Decision, store: Store | None) -> str | None:
    """Store a plan as one of the step that was then recorded. Returns its id, if it is stored."""
    if store is None or not decision.plan.fits:
        return None
    names = {name for name in region_names(step) if name}
    if not all(decision.covers(name) or decision.captured_hash == name for name in names):
        return None
    order = step_order(step, {name: decision.order(name) for name in names})
    local = decision.budget_bytes - step.resident_bytes
    made = certify(
        step,
        order,
        max(0, local),
        planner=decision.plan.planner,
    )
    key = PlanKey.of(
        step.hash(), device=decision.device, versions=decision.versions, planner=PLANNER_VERSION
    )
    sharing().plan_made(made, key)
    plan_id = store.add_plan(made, key)
    if made.status != "optimal":
        background(store.path).made(key, made.budget_bytes - decision.state_bytes)
    return plan_id


def _if_possible(store: Callable[[], str], what: str) -> str | None:
    """Store something that is not to be lost, and made twice, because it cannot be stored."""
    try:
        return store()
    except StoreUnusable as error:
        text = f"fastsa: {what} is not stored: {error.message}"
        warnings.warn(text, FastsaWarning, stacklevel=2)
        return None


class _Decider:
    def __init__(
        self, what: Subject, settings: Settings, store: Store | None, needs: Needs
    ) -> None:
        self.what = what
        self.settings = settings
        self.needs = needs
        self.store = store
        self.device = what.device
        self.name = device_name(what.device)
        self.versions = versions()
        self.summary = what.summary
        self.graph = what.graph
        self.resident = what.resident_bytes + needs.extra_resident_bytes
        self.key = PlanKey.of(
            self.graph.hash(), device=self.name, versions=self.versions, planner=PLANNER_VERSION
        )
        margin = store.margin(self.graph.hash(), self.name) if store else None
        self.margin = margin.bytes if margin else 0
        self.unkept_margin = 0

    def lowest(self) -> Decision:
        base = base_plan(self.graph)
        made = self.make(base.minimum_budget_bytes, None)
        peak = self.resident + made.peak_bytes
        lowest = self.decision(made, None, "made", peak, self.resident + base.peak_bytes)
        return msgspec.structs.replace(lowest, is_provisional=True)

    def recall(self, budget_bytes: int | None) -> Decision | None:
        budget, unplanned = self.budget(budget_bytes)
        local = self.local(budget)
        found = self.found(local)
        if found is None or not self.good_enough(found[0], local):
            return None
        return self.decision(*found, "found", budget, unplanned)

    def local(self, budget: int) -> int:
        """What a budget leaves for the plan's own bytes, in bytes."""
        return budget - self.resident - self.margin

    def states(self, chosen: Plan) -> int:
        """Bytes of generator states that a plan's repeats run from, which are no values of it."""
        return state_bytes(self.graph, chosen.sequence, self.device)

    def budget(self, budget_bytes: int | None) -> tuple[int, int]:
        """The budget and the unplanned peak, in bytes of the whole process."""
        base = base_plan(self.graph)
        unplanned = self.resident + base.peak_bytes
        if self.summary:
            unplanned = self.summary.peak_bytes + self.needs.extra_resident_bytes
        return budget_bytes or self.budget_bytes(unplanned), unplanned

    def decide(self, budget_bytes: int | None) -> Decision:
        budget, unplanned = self.budget(budget_bytes)
        local = self.local(budget)
        found = self.found(local)
        if found is None or not self.good_enough(found[0], local):
            found = self.found(local) if self.fetched(local) else found
        if found is not None and self.good_enough(found[0], local):
            return self.decision(*found, "found", budget, unplanned)
        if self.store is None:
            return self.planned(local, found, budget, unplanned)
        with Turn(self.store, self.key, max(0, local), self.settings.time_limit) as turn:
            found = self.found(local) if turn.has_waited else found
            if found is not None and self.good_enough(found[0], local):
                turn.plan_id = found[1]
                return self.decision(*found, "found", budget, unplanned)
            background(self.store.path).plans(self.settings.time_limit)
            decided = self.planned(local, found, budget, unplanned)
            turn.plan_id = decided.plan_id
            return decided

    def fetched(self, local: int) -> bool:
        """Whether other machines had plans that were not in the store."""
        if self.store is None or local <= 0:
            return False
        return sharing().fetch_plan(self.store, self.graph, self.key, local)

    def planned(
        self, local: int, found: tuple[Plan, str] | None, budget: int, unplanned: int
    ) -> Decision:
        """Plan, from what was found if anything was."""
        made = self.make(local, found[0] if found else None)
        if found is not None and (not made.fits or found[0].seconds <= made.seconds):
            return self.decision(*found, "found", budget, unplanned)
        if not made.fits and self.margin:
            # Better a plan that may take more than predicted than none.
            self.margin, self.unkept_margin = 0, self.margin
            return self.decide(budget)
        if not made.fits:
            made = self.unmet(made, budget)
        plan_id = self.keep(made)
        if self.store is not None and made.fits and made.status != "optimal":
            background(self.store.path).made(self.key, local - self.states(made))
        return self.decision(made, plan_id, "made", budget, unplanned)

    def budget_bytes(self, unplanned: int) -> int:
        budget = self.settings.budget
        if budget.kind != "auto":
            return budget.resolve(unplanned)
        free = available_bytes(self.device, live_bytes(self.device))
        if free is None:
            raise FastsaError("nobody can say what this device has free", hint="give a size")
        return free if self.needs.free_bytes is None else min(free, self.needs.free_bytes)

    def found(self, local: int) -> tuple[Plan, str] | None:
        """The fastest stored plan within a budget, and its id."""

        def usable(stored: Plan) -> bool:
            return self.legal(stored) and self.fits(stored, local)

        if self.store is None or local <= 0:
            return None
        stored = self.store.find_plan(self.key, local, usable)
        return None if stored is None else (stored.plan, stored.id)

    def fits(self, found: Plan, local: int) -> bool:
        """Whether a plan is within a budget together with the states that it needs."""
        return found.fits and found.peak_bytes + self.states(found) <= local

    def legal(self, stored: Plan) -> bool:
        try:
            validate(self.graph, stored)
        except IllegalPlan:
            return False
        return is_tied(self.graph, stored)

    def good_enough(self, found: Plan, local: int) -> bool:
        """Whether planning again could not gain much over the fastest stored plan that fits."""
        if found.status == "optimal" or found.extra_seconds <= 0:
            return True
        is_auto = self.settings.budget.kind == "auto"
        close = CLOSE_ENOUGH_AUTO if is_auto else CLOSE_ENOUGH
        if found.budget_bytes >= close * (local - self.states(found)):  # as `make` leaves room
            return True
        # A curve has been searched at every budget: what is found is no slower than its plan.
        return self.store is not None and self.store.has_curve(self.key, local, found.base_seconds)

    def make(self, local: int, warm_start: Plan | None) -> Plan:
        made = self.searched(local, warm_start)
        if made.fits and not self.fits(made, local):
            return self.searched(local - self.states(made), None)
        return made

    def searched(self, local: int, warm_start: Plan | None) -> Plan:
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
            raise infeasible(self.graph, lowest, budget, self.resident, self.states(lowest))
        return lowest

    def keep(self, made: Plan) -> str | None:
        sharing().plan_made(made, self.key)
        store = self.store
        if store is None:
            return None
        return _if_possible(lambda: store.add_plan(made, self.key), "the plan")

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
            model=self.what.model,
            shape=self.what.shape,
            captured_hash=self.what.captured_hash,
            state_bytes=self.states(chosen),
            margin_bytes=self.margin,
            unkept_margin_bytes=self.unkept_margin,
            verdict=self.store.verdict_on(plan_id) if self.store and plan_id else None,
        )


def base_plan(graph: Graph) -> Plan:
    """The unplanned order as a plan: its peak is the base peak."""
    return plan(graph, (1 << 63) - 1, time_limit=0.0, iterations=0)


def infeasible(
    graph: Graph, lowest: Plan, budget: int, resident: int, states: int
) -> InfeasibleBudget:
    """The error for a budget that is not met: the minimum, the op that sets it, what is reached."""
    minimum = resident + lowest.minimum_budget_bytes
    op = graph.ops[lowest.minimum_budget_op]
    where = " ".join(("", *(part for part in (op.module, op.source) if part)))
    floor = (
        f"the minimum is {format_bytes(minimum)} ({format_bytes(resident)} resident + "
        f"{format_bytes(lowest.minimum_budget_bytes)} for {op.target}{where})"
    )
    enough = rounded_up(resident + lowest.peak_bytes + states)
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
