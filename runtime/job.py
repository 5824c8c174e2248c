"""Job: one planned training process: its regions, its plans, its steps."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import torch
from torch import fx, nn

from fastsa.cache.compile_cache_index import CompileCacheEntry
from fastsa.cache.remote_session import remote_session
from fastsa.cache.store import Store
from fastsa.capture.accumulation import has_gradient
from fastsa.capture.calls import CallLog
from fastsa.capture.joint_graph import Capture
from fastsa.capture.region import Region, compile_region, covers_frame
from fastsa.errors import FastsaError, InfeasibleBudget, StoreUnusable, reason
from fastsa.instrumentation.interruption import interruptible
from fastsa.instrumentation.module_hooks import parameters
from fastsa.planner.budget import format_bytes
from fastsa.planner.graph import Graph
from fastsa.planner.step import Order, region_names
from fastsa.runtime.compile_cache import compile_planned
from fastsa.runtime.decision import Decision
from fastsa.runtime.decisions import Decisions
from fastsa.runtime.learner import Learner
from fastsa.runtime.notices import Notices
from fastsa.runtime.plan_request import PlanRequest, plan_request
from fastsa.runtime.planned_region import PlannedRegion
from fastsa.runtime.ranks import Ranks
from fastsa.runtime.run_record import RunRecord
from fastsa.runtime.selector import ALONE, Needs, decide, keep_for, provisional, recall
from fastsa.runtime.settings import OFF, Settings
from fastsa.runtime.status import Status, register
from fastsa.runtime.step_monitor import StepMonitor

T = TypeVar("T")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs the model.

    Args:
        command: The script and its arguments, if it was started by us.
        can_replan: Whether it compiles the model again on demand.
        on_planned: Told of each decision.
    """

    command: tuple[str, ...] = ()
    can_replan: bool = False
    on_planned: Callable[[Decision], None] = lambda decision: None


class Compilation:
    """The regions that a job has compiled. `planned`: those with a plan."""

    def __init__(self) -> None:
        self.count = 0
        self.planned: list[PlannedRegion] = []
        self._root_frame: int | None = None  # of the model that is being compiled

    def begin(self, frame: int) -> None:
        """A model is about to be compiled: the number of its frame."""
        self._root_frame = frame

    def add(self, gm: fx.GraphModule) -> bool:
        """One more. Returns whether it is all of a model, as far as anybody can tell."""
        self.count += 1
        return self._root_frame is None or covers_frame(gm, self._root_frame)


class Job:
    """One training process under one budget.

    Compiles regions, decides on their plans, watches the steps, and stores the run at its end. It
    is large because a method is an event of the process, and each must leave the script unharmed.
    """

    def __init__(self, settings: Settings, host: Host | None = None) -> None:
        self.settings = settings
        self.host = host or Host()
        self.ranks = Ranks(settings.rank_timeout, settings.time_limit)
        self.notices = Notices(self.ranks)
        self.decisions = Decisions()
        self.compilation = Compilation()
        self.record = RunRecord(settings.store, self.host.command)
        self.refusal: InfeasibleBudget | None = None
        self.watch: StepMonitor | None = None
        self.recompile_epoch = 0  # goes up when whoever runs the model has to compile it again
        self.process = os.getpid()
        self._learner = Learner()
        self._accumulates = False  # whether it has replanned because of gradients of before
        self._called_as = ("model", "")  # the model's name and the shape of its arguments
        self._closed = False

    @property
    def model(self) -> str:
        """What the model is called."""
        return self._called_as[0]

    @property
    def shape(self) -> str:
        """The shape of the arguments that it was last compiled for."""
        return self._called_as[1]

    def describe(self, model: str, shape: str) -> None:
        """Say what is about to be compiled."""
        self._called_as = (model, shape)

    def compile(self, gm: fx.GraphModule, example_inputs: Sequence[Any]) -> Any:
        """Compile one Dynamo graph; it becomes a region if gradients are taken through it."""
        region = self.new_region(gm, example_inputs)
        if self._accumulates:  # torch's cache does not know that
            return compile_region(region, gm, example_inputs)
        return compile_planned(
            region, gm, example_inputs, store=self.settings.store, recall=self._recalled
        )

    def new_region(self, gm: fx.GraphModule, example_inputs: Sequence[Any]) -> PlannedRegion:
        """The region that a Dynamo graph becomes."""
        return PlannedRegion(self, example_inputs, is_whole=self.compilation.add(gm))

    def _recalled(self, start: CompileCacheEntry) -> Decision | None:
        """The decision for the graph an earlier start captured, if nothing is left to find out."""
        covering = self.decisions.covering(start.captured)
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
                    process_budget_bytes=self.decisions.process_budget_bytes,
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
        covering = self.decisions.covering(captured_hash)
        if covering is not None:
            return covering
        alike = self.decisions.alike(captured.graph) if self.training else None
        if alike is not None:
            return alike
        is_whole = is_whole or self.decisions.was_whole(captured_hash)
        return self._with_store(lambda store: self._decide(captured, store, needs, is_whole))

    def order(self, decision: Decision, captured: Graph) -> Order:
        """What a decision means for a captured region. Raises IllegalPlan."""
        return self.decisions.order(decision, captured)

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
        is_alone = self.training and self.decisions.is_only(captured.graph)
        is_another = bool(self.decisions) and not is_alone
        what = plan_request(
            captured,
            store,
            model=self.model,
            shape=self.shape,
            alone=bool(self.decisions),
            make_way=self._make_way,
        )
        is_known = bool(region_names(what.graph))
        if self.may_replan and not is_known and (is_another or not is_whole):
            return provisional(what, self.settings, store)
        settings = self.settings
        if self._accumulates:  # there is no way back: if the budget cannot be met, come close
            settings = msgspec.structs.replace(settings, best_effort=True)
        budget = self.decisions.process_budget_bytes
        return decide(what, settings, store, process_budget_bytes=budget, needs=needs)

    def _make_way(self) -> None:
        if self.watch is not None:
            self.watch.make_way()

    @property
    def may_replan(self) -> bool:
        """Whether a plan may be replaced in mid-training: where no other rank has to follow."""
        return self.host.can_replan and self.ranks.store() is None

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
        self.compilation.planned.append(region)
        register(self)
        self._learner.planned(region, captured)
        if self.watch is None:
            self.watch = StepMonitor(device, self._recorded)
            atexit.register(self.close)
        if decision in self.decisions:
            return  # as a part of a step that is planned already
        self.decisions.add(decision)
        self._take(decision)
        is_over = decision.predicted_peak_bytes > decision.process_budget_bytes
        if self._accumulates and is_over and not self.settings.best_effort:
            self.warn(
                f"the budget of {format_bytes(decision.process_budget_bytes)} cannot be met beside "
                "the gradients of earlier micro-batches: "
                f"{format_bytes(decision.predicted_peak_bytes)} is the lowest peak found"
            )
        if len(self.decisions) > 1 and self.watch.check.steps <= 1 and not self.may_replan:
            self.warn(
                "the model is captured as several regions and the budget holds for each alone: "
                "the step's peak may be higher until the next start, which knows the step"
            )
        self.host.on_planned(decision)

    def _take(self, decision: Decision) -> None:
        """Let the store know that a plan is in use."""
        if decision.plan_id is not None and not self.ranks.rank:
            self.record.use(decision.plan_id)

    def called_again(self, model: nn.Module) -> None:
        """A model is about to be called again, perhaps with gradients that no plan counts on.

        They are resident then. The plan that is made for it serves the first micro-batch of a
        step too, which finds none and leaves as many.
        """
        if not self.may_replan or self._accumulates or self._learner.is_done or not self.decisions:
            return
        if any(region_names(d.graph) or d.is_provisional for d in self.decisions):
            return  # of a step that was recorded with its gradients, or will be
        if any(map(has_gradient, parameters(model))):
            self._accumulates = True
            self.decisions.start_again()
            self._learner.start_again()
            self._compile_again()

    def _compile_again(self) -> None:
        self.recompile_epoch += 1
        if self.watch is not None:
            self.watch.start_again()

    # Watching ---------------------------------------------------------------------------------

    def status(self) -> Status | None:
        """What is known of it; None while nothing is planned."""
        if not self.decisions:
            return None
        return Status.of(self.decisions.leading, self.watch.check if self.watch else None)

    @property
    def log(self) -> CallLog[Region] | None:
        """Where regions say what runs; None if no step is being recorded."""
        return self.watch.log if self.watch is not None else None

    def refuse(self, error: InfeasibleBudget) -> None:
        """No plan can meet the budget: whoever started the job ends it."""
        self.refusal = error

    def warn(self, text: str) -> None:
        """Say something once, on one of the ranks that have it to say."""
        self.notices.warn(text)

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
        if self.watch is None or not self.decisions:
            return
        learned = self._learner.learn(self.watch, self.decisions, self.model)
        step = learned.step
        if step is not None and not self.ranks.rank:
            self._with_store(lambda store: store and store.add_graph(step))
            remote_session().graph_made(step)
        if step is not None and self.may_replan and learned.is_another:
            self._replan(step)
            return
        is_single = len(self.decisions) == 1 and not self.ranks.rank
        if step is not None and not learned.is_over and is_single:
            # The next start finds the plan as one of the step that was recorded.
            decision = self.decisions.first
            self.record.keep(self._with_store(lambda store: keep_for(step, decision, store)))
        self._warn_if_over(learned.peak_bytes, is_recorded=step is not None)

    def _replan(self, step: Graph) -> None:
        """Plan the step as it was recorded; whoever runs the model compiles it again."""
        old = self.decisions.first
        what = PlanRequest(
            graph=step,
            resident_bytes=step.resident_bytes,
            device=self.watch.check.device if self.watch else torch.device("cpu"),
            model=old.model,
            shape=old.shape,
        )
        # In mid-training there is no way back: if the budget cannot be met, come close to it.
        settings = msgspec.structs.replace(self.settings, best_effort=True)
        # A share of what a part of the step takes was not what the user meant.
        is_share = self.settings.budget.kind == "percent"
        budget = None if is_share else self.decisions.process_budget_bytes
        decision = self._with_store(
            lambda store: decide(what, settings, store, process_budget_bytes=budget)
        )
        if not decision.plan.fits:
            self.warn(
                f"the budget of {format_bytes(decision.process_budget_bytes)} cannot be met by the "
                "whole step: "
                f"{format_bytes(decision.predicted_peak_bytes)} is the lowest peak found"
            )
        self.decisions.replace(decision)
        self._take(decision)
        self.compilation.planned.clear()
        self._compile_again()
        self.host.on_planned(decision)

    def _warn_if_over(self, peak: int | None, *, is_recorded: bool) -> None:
        if peak is None:
            return
        guard = self.record.guard
        said = guard.measured(tuple(self.decisions), peak, is_recorded=is_recorded)
        if said is not None:
            self.warn(said)

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
        if self.watch is not None and self.decisions:
            self.record.end(self.decisions.leading, self.watch.check)


def disabled() -> bool:
    """Whether the environment switches fastsa off."""
    return os.environ.get(OFF, "") not in ("", "0")
