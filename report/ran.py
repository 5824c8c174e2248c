"""What a person sees of a planned job: how its budget is made up, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from fastsa.planner.budget import format_bytes
from fastsa.records.run import Run
from fastsa.runtime.decision import Decision

ENOUGH = 8  # steps in which both are measured unless something is in the way


def planned(decision: Decision) -> str:
    """Before training starts: the plan and its budget."""
    if decision.is_provisional:
        return (
            "fastsa: a region of a step that is not known yet: it runs with as little memory as "
            "was found until the step has been seen"
        )
    plan = decision.plan
    margin = decision.margin_bytes
    step = max(0, decision.process_budget_bytes - decision.resident_bytes - margin)
    resident = "measured" if decision.profiled else "estimated"
    lines = [
        f"fastsa: plan {decision.origin}{_name(decision)}: {plan.status.replace('_', ' ')}, "
        f"{_percent(plan.extra_seconds, plan.base_seconds)} extra time predicted",
        f"  budget    {format_bytes(decision.process_budget_bytes)} = "
        f"{format_bytes(decision.resident_bytes)} resident ({resident}) + "
        f"{f'{format_bytes(margin)} margin + ' if margin else ''}{format_bytes(step)} for the step",
        f"  peak      {format_bytes(decision.predicted_peak_bytes)} predicted, "
        f"{format_bytes(decision.unplanned_peak_bytes)} unplanned "
        f"({'measured' if decision.profiled else 'predicted'})",
    ]
    if decision.verdict is not None:
        lines.append(f"  checked   {decision.verdict.line}")
    if decision.unkept_margin_bytes:
        lines.append(
            f"  margin    no plan fits with the {format_bytes(decision.unkept_margin_bytes)} that "
            "an earlier run took more than predicted: none is kept"
        )
    if not plan.fits:
        lines.append("  OVER      the budget cannot be met; this is the lowest peak found")
    return "\n".join(lines)


def ending(decisions: Sequence[Decision], run: Run | None, trained: bool) -> list[str]:
    """After training: predicted against measured."""
    if not trained:
        return [
            "fastsa: no training step was seen (a model in training mode), so nothing was planned"
        ]
    if not decisions:
        return ["fastsa: trained unplanned"]
    if run is None:
        return []
    decision = max(decisions, key=lambda d: d.predicted_peak_bytes)
    return [
        f"fastsa: trained {run.steps} step(s) with plan {run.plan_origin}{_name(decision)}",
        f"  peak      {_bytes(run.measured_peak_bytes, run.steps)}, "
        f"{format_bytes(run.predicted_peak_bytes)} predicted"
        f"{_difference(run.measured_peak_bytes, run.predicted_peak_bytes)}",
        f"  step      {_seconds(run.measured_step_seconds, run.steps)}, "
        f"{run.predicted_step_seconds:.3f} s predicted from {_baseline(decision)}",
        *_over(run),
    ]


def sharded(calls: Sequence[int], steps: int) -> str:
    """Of a model that FSDP has sharded: what is planned, given how often each region has run."""
    times = sum(calls) / max(1, steps)
    return (
        f"  sharded   {len(calls)} region(s) planned, run {times:.3g} times a step in all; what "
        "FSDP gathers and sends, and the code between, runs as it is"
    )


def _baseline(decision: Decision) -> str:
    # Measured at another time, on a machine that may have been busier: no percentage.
    unplanned = f"{decision.unplanned_step_seconds:.3f} s unplanned"
    if decision.timed:
        return f"{unplanned}, measured when profiled"
    return f"{unplanned}, the sum of the times of the captured ops"


def _over(run: Run) -> list[str]:
    measured = run.measured_peak_bytes
    peak = run.predicted_peak_bytes if measured is None else measured
    if peak <= run.process_budget_bytes:
        return []
    known = "predicted" if measured is None else "measured"
    over = format_bytes(peak - run.process_budget_bytes)
    return [f"  OVER      the {known} peak is {over} above the budget"]


def _name(decision: Decision) -> str:
    return f" {decision.plan_id[:12]}" if decision.plan_id else " (not stored)"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "0.0%"


def _bytes(measured: int | None, steps: int) -> str:
    return _not_measured(steps) if measured is None else f"{format_bytes(measured)} measured"


def _seconds(measured: float | None, steps: int) -> str:
    return _not_measured(steps) if measured is None else f"{measured:.3f} s measured"


def _not_measured(steps: int) -> str:
    return "not measured" if steps > ENOUGH else f"not measured in {steps} steps"


def _difference(measured: float | None, predicted: float) -> str:
    if measured is None or not predicted:
        return ""
    return f" ({100 * (measured / predicted - 1):+.1f}%)"
