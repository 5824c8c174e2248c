"""Plan selector: finds the plan for a request under a budget in the store, or makes it."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeGuard

import msgspec
import torch

from fastsa.cache.keys import PlanKey
from fastsa.cache.remote_session import remote_session
from fastsa.cache.store import Store
from fastsa.capture.generators import state_bytes
from fastsa.errors import FastsaError, IllegalPlan, InfeasibleBudget
from fastsa.instrumentation.device import available_bytes, device_name, versions
from fastsa.instrumentation.storages import live_bytes
from fastsa.planner.budget import format_bytes
from fastsa.planner.graph import Graph
from fastsa.planner.options import SearchOptions
from fastsa.planner.plan import Plan
from fastsa.planner.search import PLANNER_VERSION, certify
from fastsa.planner.shared_regions import calls_run_alike
from fastsa.planner.solve import solve
from fastsa.planner.step import EAGER_TARGET, region_names, step_order
from fastsa.planner.validation import validate
from fastsa.runtime.background import background
from fastsa.runtime.decision import Decision
from fastsa.runtime.plan_lease import PlanLease
from fastsa.runtime.plan_request import PlanRequest, if_possible, known
from fastsa.runtime.settings import Settings

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


def decide(
    what: PlanRequest,
    settings: Settings,
    store: Store | None,
    *,
    process_budget_bytes: int | None = None,
    needs: Needs = ALONE,
) -> Decision:
    """Look a plan up, or make one within the time limit and store it.

    `process_budget_bytes` is what an earlier decision of the job made of the budget: a share or
    `auto` means one number for the whole job. `needs` is what the job's other ranks need. Raises
    InfeasibleBudget, unless `settings.best_effort`, when the plan with the lowest peak is taken.
    """
    return PlanSelector(what, settings, store, needs).decide(process_budget_bytes)


def provisional(what: PlanRequest, settings: Settings, store: Store | None) -> Decision:
    """The plan with the lowest peak found, for a region of a step that is not known yet."""
    return PlanSelector(what, settings, store, ALONE).lowest()


def recall(
    captured_hash: str,
    device: torch.device,
    settings: Settings,
    store: Store,
    *,
    model: str,
    shape: str,
    process_budget_bytes: int | None = None,
) -> Decision | None:
    """What `decide` would say of a graph captured earlier; None if it would measure or plan."""
    what = known(captured_hash, device, store, model=model, shape=shape)
    return (
        None
        if what is None
        else PlanSelector(what, settings, store, ALONE).recall(process_budget_bytes)
    )


def keep_for(step: Graph, decision: Decision, store: Store | None) -> str | None:
    """Store a plan as one of the step that was then recorded. Returns its id, if it is stored."""
    if store is None or not decision.plan.fits:
        return None
    names = {name for name in region_names(step) if name}
    if not all(decision.covers(name) or decision.captured_hash == name for name in names):
        return None
    order = step_order(step, {name: decision.order(name) for name in names})
    local = decision.process_budget_bytes - step.resident_bytes
    made = certify(
        step,
        order,
        max(0, local),
        planner=decision.plan.planner,
    )
    key = PlanKey.of(
        step.hash(), device=decision.device, versions=decision.versions, planner=PLANNER_VERSION
    )
    remote_session().plan_made(made, key)
    plan_id = store.add_plan(made, key)
    if made.status != "optimal":
        background(store.path).made(key, made.step_budget_bytes - decision.state_bytes)
    return plan_id


class _Target(NamedTuple):
    """Bytes: the budget of the process, the peak of its unplanned step, what the plan may take."""

    process_bytes: int
    unplanned_bytes: int
    step_bytes: int


class StoredChoice(NamedTuple):
    """A plan from the store, and its id."""

    plan: Plan
    plan_id: str


class PlanSelector:
    """One request: what is stored is looked at first, then what others have, then it is planned."""

    def __init__(
        self, what: PlanRequest, settings: Settings, store: Store | None, needs: Needs
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
        made = self.at_minimum(base)
        target = _Target(self.resident + made.peak_bytes, self.resident + base.peak_bytes, 0)
        lowest = self.decision(made, None, "made", target)
        return msgspec.structs.replace(lowest, is_provisional=True)

    def recall(self, process_budget_bytes: int | None) -> Decision | None:
        target = self.target(process_budget_bytes)
        stored = self.stored(target)
        return self.decision(*stored, "found", target) if self.serves(stored, target) else None

    def states(self, chosen: Plan) -> int:
        """Bytes of generator states that a plan's repeats run from, which are no values of it."""
        return state_bytes(self.graph, chosen.sequence, self.device)

    def target(self, process_budget_bytes: int | None) -> _Target:
        unplanned = self.resident + base_plan(self.graph).peak_bytes
        if self.summary:
            unplanned = self.summary.peak_bytes + self.needs.extra_resident_bytes
        budget = process_budget_bytes or self.process_budget_bytes(unplanned)
        return _Target(budget, unplanned, budget - self.resident - self.margin)

    def decide(self, process_budget_bytes: int | None) -> Decision:
        target = self.target(process_budget_bytes)
        stored = self.stored(target)
        if not self.serves(stored, target) and self.fetched(target):
            stored = self.stored(target)
        if self.serves(stored, target):
            return self.decision(*stored, "found", target)
        decided = self.plan_in_turn(target, stored)
        if decided is not None:
            return decided
        # Better a plan that may take more than predicted than none.
        self.margin, self.unkept_margin = 0, self.margin
        return self.decide(target.process_bytes)

    def plan_in_turn(self, target: _Target, stored: StoredChoice | None) -> Decision | None:
        """Plan, unless another job is at the same plan: then its plan. None as for `planned`."""
        if self.store is None:
            return self.planned(target, stored)
        step_bytes, time_limit = max(0, target.step_bytes), self.settings.time_limit
        with PlanLease(self.store, self.key, step_bytes, time_limit) as lease:
            if lease.has_waited:
                stored = self.stored(target)
            if self.serves(stored, target):
                lease.plan_id = stored.plan_id
                return self.decision(*stored, "found", target)
            background(self.store.path).plans(time_limit)
            decided = self.planned(target, stored)
            lease.plan_id = decided.plan_id if decided else None
            return decided

    def planned(self, target: _Target, stored: StoredChoice | None) -> Decision | None:
        """Plan, from what is stored if anything is. None if only the margin is in the way.

        Raises InfeasibleBudget.
        """
        made = self.make(target.step_bytes, stored.plan if stored else None)
        if stored is not None and (not made.fits or stored.plan.seconds <= made.seconds):
            return self.decision(*stored, "found", target)
        if not made.fits and self.margin:
            return None
        if not made.fits:
            made = self.unmet(made, target.process_bytes)
        plan_id = self.keep(made)
        if self.store is not None and made.fits and made.status != "optimal":
            background(self.store.path).made(self.key, target.step_bytes - self.states(made))
        return self.decision(made, plan_id, "made", target)

    def fetched(self, target: _Target) -> bool:
        """Whether other machines had plans that were not in the store."""
        if self.store is None or target.step_bytes <= 0:
            return False
        return remote_session().fetch_plan(self.store, self.graph, self.key, target.step_bytes)

    def process_budget_bytes(self, unplanned: int) -> int:
        budget = self.settings.budget
        if budget.kind != "auto":
            return budget.resolve(unplanned)
        free = available_bytes(self.device, live_bytes(self.device))
        if free is None:
            raise FastsaError("nobody can say what this device has free", hint="give a size")
        return free if self.needs.free_bytes is None else min(free, self.needs.free_bytes)

    def stored(self, target: _Target) -> StoredChoice | None:
        """The fastest stored plan that is legal and fits."""

        def usable(plan: Plan) -> bool:
            return self.legal(plan) and self.fits(plan, target.step_bytes)

        if self.store is None or target.step_bytes <= 0:
            return None
        stored = self.store.find_plan(self.key, target.step_bytes, usable)
        return None if stored is None else StoredChoice(stored.plan, stored.id)

    def fits(self, plan: Plan, step_bytes: int) -> bool:
        """Whether a plan fits together with the states that it needs."""
        return plan.fits and plan.peak_bytes + self.states(plan) <= step_bytes

    def legal(self, stored: Plan) -> bool:
        try:
            validate(self.graph, stored)
        except IllegalPlan:
            return False
        return calls_run_alike(self.graph, stored)

    def serves(self, stored: StoredChoice | None, target: _Target) -> TypeGuard[StoredChoice]:
        """Whether planning again could not gain much over the fastest stored plan that fits."""
        if stored is None:
            return False
        plan, step_bytes = stored.plan, target.step_bytes
        if plan.status == "optimal" or plan.extra_seconds <= 0:
            return True
        is_auto = self.settings.budget.kind == "auto"
        close = CLOSE_ENOUGH_AUTO if is_auto else CLOSE_ENOUGH
        if plan.step_budget_bytes >= close * (step_bytes - self.states(plan)):  # as `make` does
            return True
        # A curve has been searched at every budget: what is stored is no slower than its plan.
        curves = self.store
        return curves is not None and curves.has_curve(self.key, step_bytes, plan.base_seconds)

    def make(self, step_bytes: int, warm_start: Plan | None) -> Plan:
        """A plan that leaves room for its own states."""
        made = self.search(step_bytes, warm_start)
        if made.fits and not self.fits(made, step_bytes):
            return self.search(step_bytes - self.states(made), None)
        return made

    def at_minimum(self, plan: Plan) -> Plan:
        """A plan at the minimum budget of the graph; there is none lower that has its states."""
        made = self.make(plan.minimum_budget_bytes, None)
        return made if made.sequence else self.search(plan.minimum_budget_bytes, None)

    def search(self, step_bytes: int, warm_start: Plan | None) -> Plan:
        return solve(self.graph, max(0, step_bytes), self.settings.search, warm_start=warm_start)

    def unmet(self, made: Plan, budget: int) -> Plan:
        """The plan with the lowest peak found, to train with all the same, or InfeasibleBudget."""
        lowest = made
        if made.status == "infeasible":
            lowest = self.at_minimum(made)
        if not self.settings.best_effort:
            raise infeasible(self.graph, lowest, budget, self.resident, self.states(lowest))
        return lowest

    def keep(self, made: Plan) -> str | None:
        remote_session().plan_made(made, self.key)
        store = self.store
        if store is None:
            return None
        return if_possible(lambda: store.add_plan(made, self.key), "the plan")

    def decision(
        self,
        chosen: Plan,
        plan_id: str | None,
        origin: Literal["found", "made"],
        target: _Target,
    ) -> Decision:
        seconds = self.summary.step_seconds if self.summary else None
        return Decision(
            plan=chosen,
            plan_id=plan_id,
            origin=origin,
            graph=self.graph,
            device=self.name,
            versions=self.versions,
            process_budget_bytes=target.process_bytes,
            resident_bytes=self.resident,
            unplanned_peak_bytes=target.unplanned_bytes,
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
    return solve(graph, (1 << 63) - 1, SearchOptions(time_limit=0.0, iterations=0))


def infeasible(
    graph: Graph, lowest: Plan, budget: int, resident: int, states: int
) -> InfeasibleBudget:
    """The error for a budget that is not met: the minimum, the op that sets it, what is reached."""
    minimum = resident + lowest.minimum_budget_bytes
    floor = (
        f"the minimum is {format_bytes(minimum)} ({format_bytes(resident)} resident + "
        f"{format_bytes(lowest.minimum_budget_bytes)} for {_culprit(graph, lowest)})"
    )
    enough = rounded_up(resident + lowest.peak_bytes + states)
    if budget < minimum:
        what = f"a budget of {format_bytes(budget)} cannot be met: {floor}"
    else:
        seconds = f"{lowest.planner.wall_seconds:.1f} s"
        what = f"no plan within {format_bytes(budget)} was found in {seconds}: {floor}"
    # Of a step that was never seen it is the first part.
    rest = "" if region_names(graph) else "; if the step has other models, profile it first"
    return InfeasibleBudget(
        f"{what}, the lowest peak found is {enough}",
        hint=f"give {enough}, more --time-limit, or --best-effort to train at the lowest peak"
        + rest,
    )


def _culprit(graph: Graph, lowest: Plan) -> str:
    op = graph.ops[lowest.minimum_budget_op]
    target = "code that was not captured" if op.target == EAGER_TARGET else op.target
    return " ".join((target, *(part for part in (op.module, op.source) if part)))


def rounded_up(size: int) -> str:
    """Bytes as a budget that is no smaller."""
    return f"{math.ceil(size / 2**20 * 100) / 100:.2f} MiB"
