"""A verdict for people and, with stable keys, for programs: planned against unplanned steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from fastsa.records.verdict import Difference, Verdict
from fastsa.report import text
from fastsa.report.layout import PageFacts, Part, Table

NOT_MEASURED = "not measured"


class VerdictReport(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict and what follows from it. `id` is None where it is not stored.

    `holds` is what `fastsa check` exits with 0 for.
    """

    schema: Literal["fastsa.show.verdict/1"] = "fastsa.show.verdict/1"
    id: str | None
    holds: bool
    within_budget: bool | None
    verdict: Verdict


def summarize(verdict_id: str | None, verdict: Verdict) -> VerdictReport:
    """The report of a verdict."""
    return VerdictReport(
        id=verdict_id, holds=verdict.holds, within_budget=verdict.within_budget, verdict=verdict
    )


def render(report: VerdictReport) -> Iterator[Part]:
    """The report for people."""
    verdict = report.verdict
    name = f"Verdict {text.of_id(report.id)}" if report.id else "Verdict (not stored)"
    yield PageFacts(name, _facts(verdict))
    if verdict.differences:
        yield Table(
            "First differences",
            ["from", "step>", "tensor", "op", "module", "source"],
            [_difference(each) for each in verdict.differences],
        )
    yield Table(
        "Measured over steps of the whole process",
        ["", "eager>", "compiled, unplanned>", "planned>", "predicted>"],
        [("peak", *_peaks(verdict)), ("step time", *_seconds(verdict))],
    )


def _facts(verdict: Verdict) -> list[tuple[str, str | None]]:
    return [
        ("script", verdict.script),
        ("model", verdict.model),
        ("shape", verdict.shape),
        ("device", verdict.device),
        ("checked", f"{text.of_time(verdict.created)} UTC, {_compared(verdict)}"),
        ("plan", text.of_id(verdict.plan) if verdict.plan else "(not stored)"),
        ("to compiled", _identical(verdict.identical_to_compiled) + _doubt(verdict)),
        ("to eager", _identical(verdict.identical_to_eager) + _torch_too(verdict)),
        ("budget", f"{text.of_bytes(verdict.process_budget_bytes)}, {_budget(verdict)}"),
        *(("warning", each) for each in verdict.warnings),
        ("seeded", "by fastsa: the script seeds nothing" if verdict.seeded else None),
        ("so", None if verdict.holds else "it does NOT hold"),
    ]


def _compared(verdict: Verdict) -> str:
    ops = "" if verdict.ops is None else f", {text.of_count(verdict.ops)} ops"
    return f"{verdict.steps} steps, {text.of_count(verdict.tensors)} tensors{ops}"


def _identical(identical: bool | None) -> str:
    return {True: "bit-identical", False: "DIFFERS", None: "could not be compared"}[identical]


def _doubt(verdict: Verdict) -> str:
    if verdict.deterministic is False:
        return (
            ", but without a plan it differs from itself, too: the script, or torch's compiled "
            "graph of it, is not deterministic here"
        )
    return ""


def _torch_too(verdict: Verdict) -> str:
    if verdict.identical_to_eager is False and verdict.compiled_identical_to_eager is False:
        return ", torch's own compiled graph differs as well"
    return ""


def _budget(verdict: Verdict) -> str:
    kept = {True: "kept", False: "EXCEEDED", None: "the peak was not measured"}
    return kept[verdict.within_budget]


def _difference(found: Difference) -> tuple[str | None, ...]:
    again = f" (run {found.run})" if found.run is not None and found.run > 1 else ""
    op = f"{found.op} {found.target}{again}" if found.op else None
    source = text.of_source(found.source)
    return found.against, str(found.step), found.tensor, op, found.module, source


def _peaks(verdict: Verdict) -> tuple[str, ...]:
    measured = (
        verdict.eager_peak_bytes,
        verdict.compiled_peak_bytes,
        verdict.measured_peak_bytes,
    )
    cells = (NOT_MEASURED if each is None else text.of_bytes(each) for each in measured)
    return *cells, text.of_bytes(verdict.predicted_peak_bytes)


def _seconds(verdict: Verdict) -> tuple[str, ...]:
    measured = (
        verdict.eager_step_seconds,
        verdict.compiled_step_seconds,
        verdict.measured_step_seconds,
    )
    cells = (NOT_MEASURED if each is None else text.of_seconds(each) for each in measured)
    return *cells, text.of_seconds(verdict.predicted_step_seconds)
