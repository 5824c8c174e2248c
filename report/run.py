"""A run for people and, with stable keys, for programs: predicted against measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from fastsa.records.run import Run
from fastsa.report import text
from fastsa.report.layout import PageFacts, Part, Table


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes are the whole process's on the device. A difference is measured less predicted.

    What was not measured is None.
    """

    schema: Literal["fastsa.show.run/2"] = "fastsa.show.run/2"
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
    process_budget_bytes: int
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
        process_budget_bytes=run.process_budget_bytes,
        resident_bytes=run.resident_bytes,
        predicted_peak_bytes=run.predicted_peak_bytes,
        measured_peak_bytes=peak,
        peak_difference_bytes=None if peak is None else peak - run.predicted_peak_bytes,
        predicted_step_seconds=run.predicted_step_seconds,
        measured_step_seconds=step,
        step_difference_seconds=None if step is None else step - run.predicted_step_seconds,
    )


def render(report: RunReport) -> Iterator[Part]:
    """The report for people."""
    yield PageFacts(
        f"Run {text.of_id(report.id)}",
        [
            ("script", report.script),
            ("model", report.model),
            ("shape", report.shape),
            ("device", report.device),
            ("ran", f"{text.of_time(report.created)} UTC, {text.of_count(report.steps)} steps"),
            ("plan", f"{text.of_id(report.plan)}, {report.plan_origin}"),
            ("budget", f"{text.of_bytes(report.process_budget_bytes)}, whole process"),
            ("resident", text.of_bytes(report.resident_bytes)),
        ],
    )
    yield Table(
        "Predicted and measured",
        ["", "predicted>", "measured>", "difference>"],
        [("peak", *_peak(report)), ("step time", *_step(report))],
    )


def _peak(report: RunReport) -> tuple[str, ...]:
    predicted, measured = report.predicted_peak_bytes, report.measured_peak_bytes
    if measured is None:
        return text.of_bytes(predicted), "not measured", ""
    difference = text.of_difference(measured, predicted)
    return text.of_bytes(predicted), text.of_bytes(measured), difference


def _step(report: RunReport) -> tuple[str, ...]:
    predicted, measured = report.predicted_step_seconds, report.measured_step_seconds
    if measured is None:
        return text.of_seconds(predicted), "not measured", ""
    difference = text.of_difference(measured, predicted)
    return text.of_seconds(predicted), text.of_seconds(measured), difference
