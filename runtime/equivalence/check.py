"""Check: compares planned steps of a script with unplanned ones, each in its own process.

The script cannot be made to repeat a step, so it is started anew for each way to run it: eager,
compiled without a plan, planned. All start from the same seeds and so from the same state.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from fastsa.errors import FastsaError
from fastsa.records.verdict import Difference, Verdict
from fastsa.runtime.equivalence import comparison
from fastsa.runtime.equivalence.trace import Assignment, Mode, PlanUsed, StepsTrace

QUIET = {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONHASHSEED": "0"}
LAST_WORDS = 20  # lines of what a failed script said


class OwnFailure(FastsaError):
    """An error of fastsa's in another process, with its exit code."""

    def __init__(self, message: str, *, hint: str, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class Traces(NamedTuple):
    """What the processes left; the second ones ran only if there was something to explain."""

    eager: StepsTrace
    compiled: StepsTrace
    planned: StepsTrace
    eager_again: StepsTrace | None
    compiled_again: StepsTrace | None


def check(
    assignment: Assignment, on_progress: Callable[[str], None] = lambda text: None
) -> tuple[Verdict, ...]:
    """The verdict on each plan that the script trains under, the one of the highest peak first.

    The mode, the ops and the result of `assignment` are filled in here. Raises FastsaError, also
    for a script that fails by itself.
    """
    with tempfile.TemporaryDirectory(prefix="fastsa-check-") as folder:
        traces = _traces(_Processes(assignment, Path(folder), on_progress))
    if not traces.planned.plans:
        said = "; ".join(traces.planned.warnings) or "no training step was seen"
        raise FastsaError(f"nothing was planned: {said}", hint="there is nothing to check")
    return tuple(_verdict(assignment, traces, plan) for plan in traces.planned.plans)


class _Processes:
    """Runs the script in one mode after the other."""

    def __init__(
        self, assignment: Assignment, folder: Path, on_progress: Callable[[str], None]
    ) -> None:
        self.assignment = assignment
        self.folder = folder
        self.on_progress = on_progress
        self.count = 0
        self.steps = assignment.steps

    def trace(self, mode: Mode, why: str = "", *, ops: bool = False) -> StepsTrace:
        """The trace of a new process. Raises FastsaError, also if the script fails."""
        trace = self._run(mode, why, ops)
        if trace is not None:
            return trace
        if mode == "planned" and self._run("eager", ", since the planned ones failed", ops):
            raise FastsaError(
                "the script fails when it is planned, and does not by itself",
                hint="please report this, with what it said above",
            )
        raise FastsaError(
            f"the script failed by itself, in its {'compiled' if mode == 'compiled' else 'eager'} "
            "run",
            hint="see what it said above",
        )

    def _run(self, mode: Mode, why: str, ops: bool) -> StepsTrace | None:
        self.on_progress(f"{mode} steps{why}")
        self.count += 1
        place = self.folder / str(self.count)
        task = msgspec.structs.replace(
            self.assignment, mode=mode, ops=ops, steps=self.steps, result=f"{place}.trace.json"
        )
        order, log = Path(f"{place}.json"), Path(f"{place}.log")
        order.write_bytes(msgspec.json.encode(task))
        with log.open("wb") as output:
            subprocess.run(
                [sys.executable, "-m", "fastsa.runtime.equivalence.worker", order],
                env={**os.environ, **QUIET},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        trace = _left(Path(task.result))
        if trace is None:
            for line in _last_words(log):
                self.on_progress(f"| {line}")
        return trace


def _left(result: Path) -> StepsTrace | None:
    """What a process has left. Raises what fastsa had to say in it."""
    if not result.exists():
        return None
    trace = msgspec.json.decode(result.read_bytes(), type=StepsTrace)
    if trace.failure is not None:
        failure = trace.failure
        raise OwnFailure(failure.message, hint=failure.hint, exit_code=failure.exit_code)
    return trace


def _last_words(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_WORDS:]


def _traces(processes: _Processes) -> Traces:
    ops = processes.assignment.ops
    planned = processes.trace("planned", ops=ops)
    if not planned.plans:
        return Traces(planned, planned, planned, None, None)
    # A plan that is replaced in mid-training gets as many steps again.
    processes.steps = len(planned.steps)
    eager = processes.trace("eager")
    compiled = processes.trace("compiled", ops=ops)
    compiled_again = None
    if comparison.differ(compiled, planned):
        compiled_again = processes.trace("compiled", " again, op for op", ops=True)
        if not ops:
            # What the first one learned of the step must not lead to another budget.
            processes.assignment = msgspec.structs.replace(
                processes.assignment,
                budget=str(planned.plans[0].process_budget_bytes),
                best_effort=True,
            )
            seen = processes.trace("planned", " again, op for op", ops=True)
            planned = msgspec.structs.replace(planned, places=seen.places, ops=seen.ops)
    eager_again = None
    if comparison.differ(eager, planned):
        eager_again = processes.trace("eager", " again")
    return Traces(eager, compiled, planned, eager_again, compiled_again)


def _verdict(assignment: Assignment, traces: Traces, plan: PlanUsed) -> Verdict:
    eager, compiled, planned, _, again = traces
    reference = again if again is not None and again.ops else compiled
    return Verdict(
        plan=plan.id or "",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        script=" ".join((assignment.script, *assignment.arguments)),
        model=planned.model,
        shape=planned.shape,
        device=planned.device,
        versions=planned.versions,
        steps=len(planned.steps),
        tensors=sum(map(len, planned.steps)),
        ops=comparison.compared_ops(reference, planned) if planned.ops else None,
        seeded=planned.seeded,
        identical_to_compiled=_identical(compiled, planned),
        identical_to_eager=not comparison.differ(eager, planned),
        compiled_identical_to_eager=_identical(compiled, eager),
        deterministic=_deterministic(traces),
        differences=_differences(reference, traces),
        warnings=tuple(dict.fromkeys((*compiled.warnings, *planned.warnings))),
        process_budget_bytes=plan.process_budget_bytes,
        predicted_peak_bytes=plan.predicted_peak_bytes,
        measured_peak_bytes=planned.peak_bytes,
        compiled_peak_bytes=compiled.peak_bytes,
        eager_peak_bytes=eager.peak_bytes,
        predicted_step_seconds=plan.predicted_step_seconds,
        measured_step_seconds=planned.step_seconds,
        compiled_step_seconds=compiled.step_seconds,
        eager_step_seconds=eager.step_seconds,
    )


def _identical(compiled: StepsTrace, other: StepsTrace) -> bool | None:
    if compiled.warnings:  # it is not the compiled graph that ran
        return None
    return not comparison.differ(compiled, other)


def _deterministic(traces: Traces) -> bool | None:
    """Whether what was run twice gave the same bits twice; None if nothing was."""
    pairs = ((traces.eager, traces.eager_again), (traces.compiled, traces.compiled_again))
    seen = [not comparison.differ(one, other) for one, other in pairs if other is not None]
    return all(seen) if seen else None


def _differences(reference: StepsTrace, traces: Traces) -> tuple[Difference, ...]:
    found = (
        comparison.difference("compiled", reference, traces.planned),
        comparison.difference("eager", traces.eager, traces.planned),
    )
    return tuple(each for each in found if each is not None)
