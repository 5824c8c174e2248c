"""The list of what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from fastsa.cache.items import KINDS, Kind, Row
from fastsa.report import text
from fastsa.report.layout import Part, Table

TITLES: dict[Kind, str] = {
    "profile": "Profiles: measured, bytes of the whole process",
    "graph": "Graphs: unplanned",
    "plan": "Plans: predicted, bytes of the step's own",
    "run": "Runs: measured (* predicted), bytes of the whole process",
    "verdict": "Verdicts: measured (* predicted), bytes of the whole process",
}


class ListReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything stored, or everything of one kind. `counters` say how lookups fared."""

    schema: Literal["fastsa.list/2"] = "fastsa.list/2"
    store: str
    items: tuple[Row, ...]
    counters: dict[str, int]


def render(report: ListReport) -> Iterator[Part]:
    """The list, one table per kind, or a sentence if there is nothing."""
    if not report.items:
        yield f"Nothing is stored in {report.store} yet."
    for kind in KINDS:
        rows = [row for row in report.items if row.kind == kind]
        if rows:
            yield Table(TITLES[kind], _columns(kind), [_cells(row) for row in rows])


def _columns(kind: Kind) -> tuple[str, ...]:
    names = ("id", "model", "shape", "device?", "created (UTC)?")
    match kind:
        case "profile":
            return (*names, "peak>", "step>")
        case "graph":
            return (*names, "step>", "size")
        case "plan":
            return (*names, "budget>", "peak>", "step>", "status", "checked?")
        case "run":
            return (*names, "budget>", "peak>", "step>", "plan?")
        case "verdict":
            return (*names, "budget>", "peak>", "step>", "verdict")


def _star(row: Row, origin: str | None) -> str:
    return " *" if row.kind in ("run", "verdict") and origin == "predicted" else ""


def _status(row: Row) -> str | None:
    return row.status if row.curve is None else f"{row.status}, curve {text.of_id(row.curve)}"


def _budget(row: Row) -> str | None:
    budget = row.step_budget_bytes if row.kind == "plan" else row.process_budget_bytes
    return None if budget is None else text.of_bytes(budget)


def _cells(row: Row) -> list[str | None]:
    """One cell per column; a profile may have no step time."""
    status = _status(row)
    cells = {
        "id": text.of_id(row.id),
        "model": row.model,
        "shape": row.shape,
        "device?": row.device,
        "created (UTC)?": text.of_time(row.created),
        "budget>": _budget(row),
        "peak>": None
        if row.peak_bytes is None
        else text.of_bytes(row.peak_bytes) + _star(row, row.peak_origin),
        "step>": None
        if row.seconds is None
        else text.of_seconds(row.seconds) + _star(row, row.seconds_origin),
        **dict.fromkeys(("size", "status", "plan?"), status),
        "checked?": row.checked or "not checked",
        "verdict": row.checked,
    }
    return [cells[name] for name in _columns(row.kind)]
