"""Worker: a process that runs a script as it is, compiled, or planned, and leaves a trace.

`python -m fastsa.runtime.equivalence.worker ASSIGNMENT`, where the assignment is a file.
`fastsa check` starts one such process for each way, so that all begin from the same state.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import fx, nn

from fastsa.capture.region import Region, compile_region
from fastsa.errors import FastsaError
from fastsa.instrumentation.device import device_name, versions
from fastsa.instrumentation.module_hooks import Call
from fastsa.instrumentation.script import StopScript
from fastsa.planner.budget import parse
from fastsa.runtime.decision import Decision
from fastsa.runtime.equivalence.observer import Observer
from fastsa.runtime.equivalence.op_digests import OpDigests
from fastsa.runtime.equivalence.trace import Assignment, Failure, PlanUsed, StepsTrace
from fastsa.runtime.job import Host, Job
from fastsa.runtime.launch import Launch
from fastsa.runtime.planned_region import PlannedRegion
from fastsa.runtime.settings import Settings
from fastsa.runtime.step_measurement import RECORD, StepMeasurement

TIMED = 3  # steps, after those that are observed or recorded
PATIENCE = 20  # steps, after those that are observed, where no step is timed
SEED = 19770709  # one that no script is likely to give


class ObservedLaunch(Launch):
    """A script under observation: planned, or compiled without a plan, or not even that."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.timed_from = max(RECORD + 1, assignment.steps)
        self.own_check: StepMeasurement | None = (
            None  # of unplanned steps; a planned job has its own
        )
        self.observer = Observer(
            assignment.steps, self._is_over, self._step_begins, self._step_ended
        )
        self.digests = OpDigests(lambda: self.observer.step)
        super().__init__(
            self._job(),
            assignment.script,
            assignment.arguments,
            module=assignment.module,
        )

    def observe(self) -> StepsTrace:
        """Run the script until enough steps are seen. What it raises passes through."""
        seed()
        seeded = torch.initial_seed()
        try:
            with _cupy_pool(self.assignment.cupy_on_torch), self.observer:
                self.run()
        except StopScript:
            pass
        except SystemExit as ending:
            if ending.code not in (None, 0):
                raise
        return self._trace(seeded == torch.initial_seed())

    def _job(self) -> Job:
        assignment = self.assignment
        job = _ObservedJob(
            settings(assignment),
            Host(
                command=(assignment.script, *assignment.arguments),
                can_replan=True,
                on_planned=self._planned,
            ),
            is_planned=assignment.mode == "planned",
            watched=self.digests.watched if assignment.ops else None,
        )
        self.said = job.said
        return job

    def _planned(self, decision: Decision) -> None:
        if self._check is not None:
            self._check.timed_from = self.timed_from
        if self.job.recompile_epoch:  # another plan from the next step on
            self.observer.observe_more()

    def _root_called(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call
    ) -> Any:
        self.device = next(nn.Module.parameters(module)).device
        self.observer.root_called(module)
        if self.assignment.mode == "eager":
            self.trained = True
            return call()
        return super()._root_called(module, args, kwargs, call)

    def _step_begins(self, step: int) -> None:
        if self.assignment.mode == "planned":
            return
        if self.own_check is None:
            self.own_check = StepMeasurement(self.device)
            self.own_check.timed_from = self.timed_from
        self.own_check.step_begins(step)

    def _step_ended(self, step: int) -> None:
        if self.own_check is not None:
            self.own_check.step_ended(step)

    def _is_over(self, step: int) -> bool:
        check = self._check
        is_timed = check is not None and check.timed >= TIMED
        return is_timed or step >= self.observer.steps + PATIENCE

    @property
    def _check(self) -> StepMeasurement | None:
        if self.own_check is not None or self.job.watch is None:
            return self.own_check
        return self.job.watch.check

    def _trace(self, seeded: bool) -> StepsTrace:
        check = self._check
        if check is not None:
            check.close()
        decisions = sorted(self.job.decisions, key=lambda d: -d.predicted_peak_bytes)
        return StepsTrace(
            mode=self.assignment.mode,
            model=self.job.model,
            shape=self.job.shape,
            device=device_name(self.device) if self.trained else "",
            versions=versions(),
            seeded=seeded,
            steps=tuple(map(tuple, self.observer.seen)),
            places=tuple(self.digests.places),
            ops=tuple(self.digests.runs),
            plans=_plans(decisions, self.job.record.kept_plan),
            warnings=tuple(self.said),
            peak_bytes=check.peak_bytes if check else None,
            step_seconds=check.step_seconds if check else None,
        )


class _ObservedJob(Job):
    """A job of a few steps, some of them observed: not a run to be stored."""

    def __init__(
        self,
        settings: Settings,
        host: Host,
        *,
        is_planned: bool,
        watched: Callable[[Region], Region] | None,
    ) -> None:
        super().__init__(settings, host)
        self.said: list[str] = []
        self.is_planned = is_planned
        self.watched = watched

    def compile(self, gm: fx.GraphModule, example_inputs: Sequence[Any]) -> Any:
        """Compile one Dynamo graph, planned or not, watched or not."""
        if self.is_planned and self.watched is None:
            return super().compile(gm, example_inputs)
        is_whole = self.compilation.add(gm)
        region = Region()
        if self.is_planned:
            region = PlannedRegion(self, example_inputs, is_whole=is_whole)
        return compile_region(self.watched(region) if self.watched else region, gm, example_inputs)

    def warn(self, text: str) -> None:
        """Say something, and keep it for the trace."""
        self.said.append(text)
        super().warn(text)

    def _store_run(self) -> None:
        pass


def settings(assignment: Assignment) -> Settings:
    """What `fastsa run` would be told."""
    return Settings(
        budget=parse(assignment.budget),
        time_limit=assignment.time_limit,
        threads=assignment.threads,
        seed=assignment.seed,
        best_effort=assignment.best_effort,
        store=Path(assignment.store),
    )


def seed() -> None:
    """Seed torch, random and numpy, for a script that does not do it itself."""
    random.seed(SEED)
    torch.manual_seed(SEED)
    if importlib.util.find_spec("numpy"):
        importlib.import_module("numpy").random.seed(SEED)


def _cupy_pool(shared: bool) -> AbstractContextManager[object]:
    if not shared:
        return nullcontext()
    from fastsa.instrumentation.allocators.cupy import share_pool

    return share_pool()


def _plans(decisions: Sequence[Decision], kept_plan: str | None) -> tuple[PlanUsed, ...]:
    """What was used, and what the next start finds in its place: the same, of the whole step."""
    used = tuple(map(_used, decisions))
    return used if kept_plan is None else (*used, msgspec.structs.replace(used[0], id=kept_plan))


def _used(decision: Decision) -> PlanUsed:
    return PlanUsed(
        decision.plan_id,
        decision.process_budget_bytes,
        decision.predicted_peak_bytes,
        decision.predicted_step_seconds,
    )


def main(path: Path) -> int:
    """Do what the file at `path` says. Returns an exit code; the script's exceptions pass."""
    assignment = msgspec.json.decode(path.read_bytes(), type=Assignment)
    process = os.getpid()
    try:
        trace = ObservedLaunch(assignment).observe()
    except FastsaError as error:
        failure = Failure(error.message, error.hint, error.exit_code)
        trace = StepsTrace(mode=assignment.mode, failure=failure)
    if os.getpid() == process:  # a worker that the script has forked ends here, too
        Path(assignment.result).write_bytes(msgspec.json.encode(trace))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
