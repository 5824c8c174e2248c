"""A run for people and, with stable keys, for programs: predicted against measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import msgspec

from fastsa.report import text
from fastsa.runtime.run import Run

if TYPE_CHECKING:
    from rich.console import RenderableType


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes are the whole process's on the device. A difference is measured less predicted.

    What was not measured is None.
    """

    schema: Literal["fastsa.show.run/1"] = "fastsa.show.run/1"
    id: str
    created: str
    script: str
    model: str
    shape: str
    device: str
    versions: dict[str, str]
    plan: str
    plan_origin: Literal["found", "made"]
    steps: int
    budget_bytes: int
    resident_bytes: int
    predicted_peak_bytes: int
    measured_peak_bytes: int | None
    peak_difference_bytes: int | None
    predicted_step_seconds: float
    measured_step_seconds: float | None
    step_difference_seconds: float | None


def summarize(run_id: str, run: Run) -> RunReport:
    """The report of a stored run."""
    peak, step = run.measured_peak_bytes, run.measured_step_seconds
    return RunReport(
        id=run_id,
        created=run.created,
        script=run.script,
        model=run.model,
        shape=run.shape,
        device=run.device,
        versions=run.versions,
        plan=run.plan,
        plan_origin=run.plan_origin,
        steps=run.steps,
        budget_bytes=run.budget_bytes,
        resident_bytes=run.resident_bytes,
        predicted_peak_bytes=run.predicted_peak_bytes,
        measured_peak_bytes=peak,
        peak_difference_bytes=None if peak is None else peak - run.predicted_peak_bytes,
        predicted_step_seconds=run.predicted_step_seconds,
        measured_step_seconds=step,
        step_difference_seconds=None if step is None else step - run.predicted_step_seconds,
    )


def render(report: RunReport) -> Iterator[RenderableType]:
    """The report as tables."""
    from fastsa.report import terminal

    yield terminal.facts(
        f"Run {text.of_id(report.id)}",
        [
            ("script", report.script),
            ("model", report.model),
            ("shape", report.shape),
            ("device", report.device),
            ("ran", f"{text.of_time(report.created)} UTC, {text.of_count(report.steps)} steps"),
            ("plan", f"{text.of_id(report.plan)}, {report.plan_origin}"),
            ("budget", f"{text.of_bytes(report.budget_bytes)}, whole process"),
            ("resident", text.of_bytes(report.resident_bytes)),
        ],
    )
    peak, step = report.measured_peak_bytes, report.measured_step_seconds
    missing = ("not measured", "")
    yield terminal.table(
        "Predicted and measured",
        ["", "predicted>", "measured>", "difference>"],
        [
            ("peak", text.of_bytes(report.predicted_peak_bytes))
            + (
                missing
                if peak is None
                else (text.of_bytes(peak), text.of_difference(peak, report.predicted_peak_bytes))
            ),
            ("step time", text.of_seconds(report.predicted_step_seconds))
            + (
                missing
                if step is None
                else (
                    text.of_seconds(step),
                    text.of_difference(step, report.predicted_step_seconds),
                )
            ),
        ],
    )
