"""Job: everything of one planned training process: its regions, its store, its run."""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from torch import fx

from fastsa.cache.store import Store
from fastsa.errors import FastsaWarning, InfeasibleBudget, StoreUnusable, reason
from fastsa.planner.budget import format_bytes
from fastsa.profiler.capture import Capture, capture, device_of
from fastsa.profiler.device import device_name
from fastsa.profiler.region import Modules, Region
from fastsa.profiler.steps import StepClock
from fastsa.runtime.aot_cache import Lookup
from fastsa.runtime.check import StepCheck
from fastsa.runtime.decision import Decision, decide
from fastsa.runtime.partition import partition
from fastsa.runtime.run import Run
from fastsa.runtime.settings import OFF, Settings
from fastsa.runtime.start import compile_planned


class PlannedRegion(Region):
    """A region that runs in its plan's order, or as torch would if there is no plan for it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.lookup: Lookup | None = None
        self.recalled: Decision | None = None

    def partition(self, joint: fx.GraphModule, num_fwd_outputs: int) -> Modules:
        """Plan the region. Raises InfeasibleBudget; any other failure means unplanned."""
        try:
            return self._planned(joint, num_fwd_outputs)
        except InfeasibleBudget as error:
            if not self.job.training:
                self.job.refusal = error
                raise
            self.job.warn(f"a region met in mid-training trains unplanned: {error.message}")
            return super().partition(joint, num_fwd_outputs)
        except Exception as error:  # noqa: BLE001  a failure of ours must not stop the job
            self.job.warn(f"a region trains unplanned: {reason(error)}")
            return super().partition(joint, num_fwd_outputs)

    def _planned(self, joint: fx.GraphModule, num_fwd_outputs: int) -> Modules:
        job = self.job
        if self.lookup is not None:
            self.lookup.traced = True
        name = device_name(device_of(joint))
        captured = capture(joint, num_fwd_outputs, name=job.model, device_name=name)
        decision = self.recalled_for(captured) or job.decide(captured)
        modules = partition(captured, decision.order(captured.graph))
        job.planned(decision, captured.device)
        if self.lookup is not None:
            self.lookup.planned(decision.plan_id, captured.graph.hash(), captured.device)
        return modules

    def recalled_for(self, captured: Capture) -> Decision | None:
        """What was decided before the region was traced, if it is what was then expected."""
        expected = self.lookup.expected if self.lookup is not None else None
        if expected is None or expected.captured != captured.graph.hash():
            return None
        return self.recalled

    def forward_begins(self, arguments: Sequence[Any]) -> None:
        """Tell the job that a step may begin."""
        self.job.forward_begins()


class Job:
    """One training process under one budget. Compiles regions and, at its end, stores the run."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.decisions: list[Decision] = []
        self.refusal: InfeasibleBudget | None = None
        self.check: StepCheck | None = None
        self.model = "model"
        self.shape = ""
        self.command: tuple[str, ...] = ()
        self.compiled = 0
        self.run: Run | None = None
        self.on_planned: Callable[[Decision], None] = lambda decision: None
        self._clock: StepClock | None = None
        self._warned: set[str] = set()
        self._closed = False
        self.process = os.getpid()

    def compile(self, gm: fx.GraphModule, example_inputs: Sequence[Any]) -> Any:
        """Compile one Dynamo graph; it becomes a region if gradients are taken through it."""
        self.compiled += 1
        return compile_planned(self, PlannedRegion(self), gm, example_inputs)

    def decide(self, captured: Capture) -> Decision:
        """A plan for a captured region, from the store if it can be used.

        Of a step of several regions, the first to be captured decides for all.
        """
        covering = self.covering(captured.graph.hash())
        if covering is not None:
            return covering
        try:
            with Store.open(self.settings.store) as store:
                return self._decide(captured, store)
        except StoreUnusable as error:
            self.warn(f"the store is not used: {error.message}")
            return self._decide(captured, None)

    def covering(self, captured_hash: str) -> Decision | None:
        """The decision already made for a step that a captured region is a part of."""
        return next((d for d in self.decisions if d.covers(captured_hash)), None)

    def _decide(self, captured: Capture, store: Store | None) -> Decision:
        return decide(
            captured,
            self.settings,
            store,
            model=self.model,
            shape=self.shape,
            budget_bytes=self.budget_bytes,
        )

    @property
    def budget_bytes(self) -> int | None:
        """What earlier regions made of the budget, None before the first."""
        return self.decisions[0].budget_bytes if self.decisions else None

    @property
    def training(self) -> bool:
        """Whether a planned region has run: from then on nothing may stop the job."""
        return self.check is not None and self.check.steps > 0

    def planned(self, decision: Decision, device: torch.device) -> None:
        """A region has got its plan."""
        if decision in self.decisions:
            return  # as a part of a step that is planned already
        self.decisions.append(decision)
        if self.check is None:
            self.check = StepCheck(device)
            self._clock = StepClock(self.check.step_begins, self._step_ended)
            atexit.register(self.close)
        elif self.check.steps <= 1:
            self.warn(
                "the model is captured as several regions and the budget holds for each alone: "
                "the step's peak may be higher"
            )
        self.on_planned(decision)

    def forward_begins(self) -> None:
        """A planned region's forward begins."""
        if self._clock is None or self._closed:
            return
        try:
            self._clock.forward()
        except Exception as error:  # noqa: BLE001  a failure of ours must not stop the job
            self.warn(f"the peak is not measured: {reason(error)}")
            self._stop_watching()

    def _step_ended(self, step: int) -> None:
        try:
            if self.check is not None:
                self.check.step_ended(step)
                self._warn_if_over(self.check.peak_bytes)
        except Exception as error:  # noqa: BLE001  a failure of ours must not stop the job
            self.warn(f"the peak is not measured: {reason(error)}")

    def _warn_if_over(self, peak: int | None) -> None:
        decision = max(self.decisions, key=lambda d: d.predicted_peak_bytes)
        if peak is not None and decision.plan.fits and peak > decision.budget_bytes:
            self.warn(
                f"the measured peak, {format_bytes(peak)}, is above the budget of "
                f"{format_bytes(decision.budget_bytes)}: record a profile of this job"
            )

    @property
    def warned(self) -> int:
        """How many things were said."""
        return len(self._warned)

    def warn(self, text: str) -> None:
        """Say something once."""
        if text not in self._warned:
            self._warned.add(text)
            warnings.warn(f"fastsa: {text}", FastsaWarning, stacklevel=2)

    def close(self, *, store_run: bool = True) -> None:
        """End the watch over steps and store the run. Safe to call twice, and after a fork."""
        if self._closed or os.getpid() != self.process:
            return
        self._closed = True
        atexit.unregister(self.close)
        try:
            self._stop_watching()
            if store_run:
                self._store_run()
        except Exception as error:  # noqa: BLE001  a failure of ours must not stop the job
            self.warn(f"the run is not stored: {reason(error)}")

    def _stop_watching(self) -> None:
        if self._clock is not None:
            self._clock.close()
            self._clock = None
        if self.check is not None:
            self.check.close()

    def _store_run(self) -> None:
        if self.check is None or not self.decisions:
            return
        decision = max(self.decisions, key=lambda d: d.predicted_peak_bytes)
        self.run = self._run(decision, self.check)
        if decision.plan_id is None:
            return
        with Store.open(self.settings.store) as store:
            store.add_run(self.run)

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
