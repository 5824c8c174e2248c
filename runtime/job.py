"""Job: everything of one planned training process: its regions, its store, its run."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import torch
from torch import fx, nn

from fastsa.cache.sharing import sharing
from fastsa.cache.starts import Start
from fastsa.cache.store import Store
from fastsa.capture.accumulation import has_gradient
from fastsa.capture.calls import CallLog
from fastsa.capture.joint_graph import Capture
from fastsa.capture.region import Region, compile_region, covers_frame
from fastsa.capture.step_graph import Part
from fastsa.errors import FastsaError, InfeasibleBudget, StoreUnusable, reason, warn
from fastsa.instrumentation.interruption import interruptible
from fastsa.instrumentation.module_hooks import parameters
from fastsa.planner.budget import format_bytes
from fastsa.planner.graph import Graph
from fastsa.planner.step import Order, region_names
from fastsa.planner.validation import validate_order
from fastsa.records.margin import TOLERANCE_SHARE
from fastsa.records.run import Run
from fastsa.runtime.check import StepCheck
from fastsa.runtime.decider import ALONE, Needs, decide, keep_for, provisional, recall
from fastsa.runtime.decision import Decision
from fastsa.runtime.guard import Guard
from fastsa.runtime.planned_region import PlannedRegion
from fastsa.runtime.ranks import Ranks
from fastsa.runtime.settings import OFF, Settings
from fastsa.runtime.shapes import Shapes
from fastsa.runtime.start import compile_planned
from fastsa.runtime.status import Status, register
from fastsa.runtime.subject import Subject, subject
from fastsa.runtime.watch import Watch

T = TypeVar("T")


class Job:
    """One training process under one budget. Compiles regions and, at its end, stores the run."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ranks = Ranks(settings.rank_timeout, settings.time_limit)
        self.decisions: list[Decision] = []
        self.regions: list[PlannedRegion] = []  # those with a plan
        self.refusal: InfeasibleBudget | None = None
        self.watch: Watch | None = None
        self.can_switch = False  # whether whoever runs the model compiles it again on demand
        self.root_frame: int | None = None  # of the model that is being compiled
        self.generation = 0  # goes up when it has to
        self.accumulates = False  # whether it has switched because of gradients of before
        self.model = "model"
        self.shape = ""
        self.command: tuple[str, ...] = ()
        self.compiled = 0
        self.run: Run | None = None
        self.kept_plan: str | None = None  # id of the same plan as one of the step
        self.guard = Guard(settings.store)
        self.on_planned: Callable[[Decision], None] = lambda decision: None
        self._parts: dict[Region, Capture] | None = {}
        self.shapes = Shapes()
        self._like: dict[str, str] = {}  # captured region -> the one whose order it runs in
        self._whole: set[str | None] = set()  # regions that were all of a model before the switch
        self._used: set[str] = set()  # ids of plans that the store knows to be in use
        self._warned: set[str] = set()
        self._closed = False
        self.process = os.getpid()

    def compile(self, gm: fx.GraphModule, example_inputs: Sequence[Any]) -> Any:
        """Compile one Dynamo graph; it becomes a region if gradients are taken through it."""
        self.compiled += 1
        region = self.new_region(gm, example_inputs)
        if self.accumulates:  # starts do not know that
            return compile_region(region, gm, example_inputs)
        return compile_planned(
            region, gm, example_inputs, store=self.settings.store, recall=self._recalled
        )

    def new_region(self, gm: fx.GraphModule, example_inputs: Sequence[Any]) -> PlannedRegion:
        """The region that a Dynamo graph becomes."""
        is_whole = self.root_frame is None or covers_frame(gm, self.root_frame)
        return PlannedRegion(self, example_inputs, is_whole=is_whole)

    def _recalled(self, start: Start) -> Decision | None:
        """The decision for the graph an earlier start captured, if nothing is left to find out."""
        covering = self.covering(start.captured)
        if covering is not None:
            return covering
        try:
            with Store.open(self.settings.store) as store:
                return recall(
                    start.captured,
                    torch.device(start.device),
                    self.settings,
                    store,
                    model=self.model,
                    shape=self.shape,
                    budget_bytes=self.budget_bytes,
                )
        except (FastsaError, RuntimeError):
            return None  # whoever decides will say so

    # Deciding ---------------------------------------------------------------------------------

    def decide(self, captured: Capture, needs: Needs = ALONE, *, is_whole: bool = True) -> Decision:
        """A plan for a captured region, from the store if it can be used.

        Of a step of several regions that is known, the first to be captured decides for all. If
        it is not known, each gets the plan with the lowest peak until the step has been seen.
        """
        captured_hash = captured.graph.hash()
        covering = self.covering(captured_hash)
        if covering is not None:
            return covering
        like = self.shapes.plan_of(captured.graph) if self.training else None
        planned = None if like is None else self._decision_for(like)
        if like is not None and planned is not None:
            self._like[captured_hash] = like
            return planned
        is_whole = is_whole or captured_hash in self._whole
        return self._with_store(lambda store: self._decide(captured, store, needs, is_whole))

    def order(self, decision: Decision, captured: Graph) -> Order:
        """What a decision means for a captured region. Raises IllegalPlan.

        The graph it was planned on may be anybody's: what may run twice is what this one says.
        """
        name = captured.hash()
        if name not in self._like:
            self.shapes.add(captured)
        order = decision.order(self._like.get(name, name))
        validate_order(captured, order)
        return order

    def _decision_for(self, captured_hash: str) -> Decision | None:
        found = (d for d in self.decisions if d.captured_hash == captured_hash)
        return self.covering(captured_hash) or next(found, None)

    def covering(self, captured_hash: str) -> Decision | None:
        """The decision already made for a step that a captured region is a part of."""
        return next((d for d in self.decisions if d.covers(captured_hash)), None)

    def _with_store(self, work: Callable[[Store | None], T]) -> T:
        try:
            with Store.open(self.settings.store) as store:
                return work(store)
        except StoreUnusable as error:
            self.warn(f"the store is not used: {error.message}")
            return work(None)

    def _decide(
        self, captured: Capture, store: Store | None, needs: Needs, is_whole: bool
    ) -> Decision:
        # The first has not found this one in its step; with other sizes it is no other region.
        is_another = bool(self.decisions) and not self._is_alone(captured.graph)
        what = subject(
            captured,
            store,
            model=self.model,
            shape=self.shape,
            alone=bool(self.decisions),
            make_way=self._make_way,
        )
        is_known = bool(region_names(what.graph))
        if self.may_switch and not is_known and (is_another or not is_whole):
            return provisional(what, self.settings, store)
        settings = self.settings
        if self.accumulates:  # there is no way back: if the budget cannot be met, come close
            settings = msgspec.structs.replace(settings, best_effort=True)
        return decide(what, settings, store, budget_bytes=self.budget_bytes, needs=needs)

    def _make_way(self) -> None:
        if self.watch is not None:
            self.watch.make_way()

    def _is_alone(self, captured: Graph) -> bool:
        """Whether the one region that has been planned is this one, of other sizes."""
        return self.training and len(self.shapes) == 1 and captured in self.shapes

    def status(self) -> Status | None:
        """What is known of it; None while nothing is planned."""
        if not self.decisions:
            return None
        decision = self.leading
        check = self.watch.check if self.watch is not None else None
        return Status(
            state="provisional" if decision.is_provisional else "planned",
            plan=decision.plan_id,
            plan_origin=decision.origin,
            budget_bytes=decision.budget_bytes,
            fits=decision.plan.fits,
            resident_bytes=decision.resident_bytes,
            unplanned_peak_bytes=decision.unplanned_peak_bytes,
            predicted_peak_bytes=decision.predicted_peak_bytes,
            measured_peak_bytes=check.peak_bytes if check else None,
            predicted_step_seconds=decision.predicted_step_seconds,
            measured_step_seconds=check.step_seconds if check else None,
            steps=check.steps if check else 0,
        )

    @property
    def budget_bytes(self) -> int | None:
        """What the job has made of the budget, once it knows the step."""
        return next((d.budget_bytes for d in self.decisions if not d.is_provisional), None)

    @property
    def leading(self) -> Decision:
        """The decision that predicts the step's peak."""
        return max(self.decisions, key=lambda d: d.predicted_peak_bytes)

    @property
    def may_switch(self) -> bool:
        """Whether a plan may be replaced in mid-training: where no other rank has to follow."""
        return self.can_switch and self.ranks.board() is None

    @property
    def training(self) -> bool:
        """Whether a planned region has run: from then on nothing may stop the job."""
        return self.watch is not None and self.watch.check.steps > 0

    def planned(
        self,
        decision: Decision,
        region: PlannedRegion,
        device: torch.device,
        captured: Capture | None,
    ) -> None:
        """A region has got its plan; what it was captured as is None if it was not traced."""
        self.regions.append(region)
        register(self)
        if captured is None:
            self._parts = None  # nothing can be learned of the step
        elif self._parts is not None:
            self._parts[region] = captured
        if self.watch is None:
            self.watch = Watch(device, self._recorded)
            atexit.register(self.close)
        if decision in self.decisions:
            return  # as a part of a step that is planned already
        self.decisions.append(decision)
        self._note_use(decision)
        is_over = decision.predicted_peak_bytes > decision.budget_bytes
        if self.accumulates and is_over and not self.settings.best_effort:
            self.warn(
                f"the budget of {format_bytes(decision.budget_bytes)} cannot be met beside the "
                "gradients of earlier micro-batches: "
                f"{format_bytes(decision.predicted_peak_bytes)} is the lowest peak found"
            )
        if len(self.decisions) > 1 and self.watch.check.steps <= 1 and not self.may_switch:
            self.warn(
                "the model is captured as several regions and the budget holds for each alone: "
                "the step's peak may be higher until the next start, which knows the step"
            )
        self.on_planned(decision)

    def _note_use(self, decision: Decision) -> None:
        """A plan that a job trains with is no garbage, however old it is."""
        plan_id = decision.plan_id
        if plan_id is None or self.ranks.rank:
            return
        self._used.add(plan_id)
        with suppress(StoreUnusable), Store.open(self.settings.store) as store:
            store.uses.begin(plan_id)

    def called_again(self, model: nn.Module) -> None:
        """A model is about to be called again, perhaps with gradients that no plan counts on.

        They are resident then. The plan that is made for it serves the first micro-batch of a
        step too, which finds none and leaves as many.
        """
        if not self.may_switch or self.accumulates or self._parts is None or not self.decisions:
            return
        if any(region_names(d.graph) or d.is_provisional for d in self.decisions):
            return  # of a step that was recorded with its gradients, or will be
        if any(map(has_gradient, parameters(model))):
            self.accumulates = True
            self._whole = {d.captured_hash for d in self.decisions}
            self.decisions = []
            self._parts = {}
            self.generation += 1
            if self.watch is not None:
                self.watch.start_again()

    @property
    def log(self) -> CallLog[Region] | None:
        """Where regions say what runs; None if no step is being recorded."""
        return self.watch.log if self.watch is not None else None

    def refuse(self, error: InfeasibleBudget) -> None:
        """No plan can meet the budget: whoever started the job ends it."""
        self.refusal = error

    # Watching ---------------------------------------------------------------------------------

    def forward_begins(self) -> None:
        """A planned region's forward begins."""
        if self.watch is None or self._closed:
            return
        try:
            self.watch.forward_begins()
        except Exception as error:  # noqa: BLE001  a failure of ours must not stop the job
            self.warn(f"the peak is not measured: {reason(error)}")
            self._stop_watching()

    def _recorded(self) -> None:
        """The recorded step is over."""
        with interruptible():
            try:
                self._learn()
            except Exception as error:  # noqa: BLE001  a failure of ours must not stop the job
                self.warn(f"the recorded step is not used: {reason(error)}")

    def _learn(self) -> None:
        """Keep the graph of the step if it was not known, and plan it if that is called for."""
        parts, self._parts = self._parts, None
        if self.watch is None or not self.decisions:
            return
        peak = self.watch.check.peak_bytes
        if parts is None:  # it has been learned from an earlier one
            self._warn_if_over(peak)
            return
        budget = self.budget_bytes
        is_over = peak is not None and budget is not None and peak > budget
        names = [parts[region].graph.hash() for region in self.watch.regions if region in parts]
        seen = {self._like.get(name, name) for name in names}
        is_known = all(seen == set(region_names(d.graph)) - {""} for d in self.decisions)
        if is_known and not is_over and not self._is_off(peak):
            self._warn_if_over(peak)
            return
        step = self.watch.step_graph(self._measured(parts), self.model)
        if step is not None and not self.ranks.rank:
            self._with_store(lambda store: store and store.add_graph(step))
            sharing().graph_made(step)
        is_provisional = any(d.is_provisional for d in self.decisions)
        is_other = is_over or is_provisional or self._was_planned_as_another(seen)
        if step is not None and self.may_switch and is_other:
            self._switch(step)
            return
        if step is not None and not is_over and len(self.decisions) == 1 and not self.ranks.rank:
            self._keep_for(step, self.decisions[0])
        self._warn_if_over(peak, is_recorded=step is not None)

    def _is_off(self, peak: int | None) -> bool:
        """Whether the step takes so much more or less that it is another than was recorded."""
        predicted = max(d.predicted_peak_bytes for d in self.decisions)
        return peak is not None and abs(peak - predicted) > TOLERANCE_SHARE * predicted

    def _keep_for(self, step: Graph, decision: Decision) -> None:
        """Store the plan as one of the step that was recorded: the next start finds that one."""
        self.kept_plan = self._with_store(lambda store: keep_for(step, decision, store))

    def _was_planned_as_another(self, seen: set[str]) -> bool:
        """Whether the plan is of a step with other regions than those that ran."""
        return any(
            region_names(d.graph) and seen != set(region_names(d.graph)) - {""}
            for d in self.decisions
        )

    def _measured(self, parts: Mapping[Region, Capture]) -> dict[Region, Part]:
        known = {}
        for region, captured in parts.items():
            for decision in self.decisions:
                graph = decision.measured(captured.graph)
                if graph is not None:
                    known[region] = Part(captured, graph)
        return known

    def _switch(self, step: Graph) -> None:
        """Plan the step as it was recorded; whoever runs the model compiles it again."""
        old = self.decisions[0]
        what = Subject(
            graph=step,
            resident_bytes=step.resident_bytes,
            device=self.watch.check.device if self.watch else torch.device("cpu"),
            model=old.model,
            shape=old.shape,
        )
        # In mid-training there is no way back: if the budget cannot be met, come close to it.
        settings = msgspec.structs.replace(self.settings, best_effort=True)
        # A share of what a part of the step takes was not what the user meant.
        budget = None if self.settings.budget.kind == "percent" else self.budget_bytes
        decision = self._with_store(
            lambda store: decide(what, settings, store, budget_bytes=budget)
        )
        if not decision.plan.fits:
            self.warn(
                f"the budget of {format_bytes(decision.budget_bytes)} cannot be met by the whole "
                f"step: {format_bytes(decision.predicted_peak_bytes)} is the lowest peak found"
            )
        self.decisions = [decision]
        self._note_use(decision)
        self.shapes, self._like = Shapes(), {}
        self.regions.clear()
        self.generation += 1
        if self.watch is not None:
            self.watch.start_again()
        self.on_planned(decision)

    def _warn_if_over(self, peak: int | None, *, is_recorded: bool = False) -> None:
        if peak is None:
            return
        said = self.guard.measured(self.decisions, peak, is_recorded=is_recorded)
        if said is not None:
            self.warn(said)

    @property
    def warned(self) -> int:
        """How many things were said."""
        return len(self._warned)

    def warn(self, text: str) -> None:
        """Say something once, on one of the ranks that have it to say."""
        if text in self._warned:
            return
        self._warned.add(text)
        if self.ranks.is_first_to_say(text):
            who = f"rank {self.ranks.rank}: " if self.ranks.rank else ""
            warn(f"{who}{text}")

    def close(self, *, store_run: bool = True) -> None:
        """End the watch over steps and store the run. Safe to call twice, and after a fork."""
        if self._closed or os.getpid() != self.process:
            return
        self._closed = True
        atexit.unregister(self.close)
        self.ranks.leave("its script has ended")
        try:
            self._stop_watching()
            if store_run and not self.ranks.rank:
                self._store_run()
        except Exception as error:  # noqa: BLE001  a failure of ours must not stop the job
            self.warn(f"the run is not stored: {reason(error)}")

    def _stop_watching(self) -> None:
        if self.watch is not None:
            self.watch.close()

    def _store_run(self) -> None:
        if self.watch is None or not self.decisions:
            return
        decision = self.leading
        self.run = self._run(decision, self.watch.check)
        if decision.plan_id is None:
            return
        with Store.open(self.settings.store) as store:
            store.uses.end(self._used)
            run_id = store.add_run(self.run)
            self.guard.ran(store, run_id)

    def _run(self, decision: Decision, check: StepCheck) -> Run:
        return Run(
            schema="fastsa.run/1",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            script=" ".join(self.command),
            model=decision.model,
            shape=decision.shape,
            device=decision.device,
            versions=decision.versions,
            plan=decision.plan_id or "",
            plan_origin=decision.origin,
            budget_bytes=decision.budget_bytes,
            resident_bytes=decision.resident_bytes,
            predicted_peak_bytes=decision.predicted_peak_bytes,
            measured_peak_bytes=check.peak_bytes,
            predicted_step_seconds=decision.predicted_step_seconds,
            measured_step_seconds=check.step_seconds,
            steps=check.steps,
        )


def disabled() -> bool:
    """Whether the environment switches fastsa off."""
    return os.environ.get(OFF, "") not in ("", "0")
