"""A profile on a terminal: its timeline, then the top of each table."""

from __future__ import annotations

from collections.abc import Iterator

from fastsa.records.timeline import CATEGORIES
from fastsa.report import profile_tables as tables
from fastsa.report import text
from fastsa.report.layout import Area, CurveFigure, Part, Table
from fastsa.report.profile import COLUMNS, TOP, ProfileReport

_SMALLEST_LINE = 0.01  # of the peak: a category that never takes more has no line


def render(report: ProfileReport) -> Iterator[Part]:
    """The report for people."""
    yield tables.overview(report)
    yield from tables.incomplete(report)
    if report.events:
        yield timeline(report)
        yield categories(report)
    yield tables.by_category(report)
    kept = [tables.kept_by_module(report), tables.kept_by_layer(report)]
    if report.saved_by_layer == report.saved_by_module:
        kept.pop()
    for table in (
        *kept,
        _top(tables.kept_by_node(report)),
        tables.largest(report),
        tables.by_source(report),
        tables.time_by_op(report),
        tables.time_by_module(report),
        tables.time_by_node(report),
        tables.step_parts(report),
        tables.regions(report),
    ):
        if table.rows:
            yield table
    device = tables.device(report)
    if device is not None:
        yield device


def timeline(report: ProfileReport) -> Area:
    """All that is alive over the time of the step, with its phases and its peak."""
    levels = report.levels
    end = levels.end or 1.0
    peak = levels.peak
    when = f"at {text.of_seconds(peak.at)}" if levels.timed else f"at event {peak.event}"
    axis = "time of the recorded step" if levels.timed else "allocator events"
    return Area(
        f"Memory over the {axis}, measured",
        [moment.total for moment in levels.columns(COLUMNS)],
        top=text.of_bytes(peak.total),
        spans=[(span.phase, span.start / end, span.end / end) for span in levels.phases],
        mark=(peak.at / end, f"peak {when}"),
    )


def categories(report: ProfileReport) -> CurveFigure:
    """The same by category."""
    levels = report.levels
    columns = levels.columns(COLUMNS)
    lines = [
        (category, [moment.bytes[i] for moment in columns]) for i, category in enumerate(CATEGORIES)
    ]
    least = _SMALLEST_LINE * levels.peak.total
    return CurveFigure("By category", [line for line in lines if max(line[1]) > least])


def _top(table: Table) -> Table:
    return Table(table.title, table.columns, table.rows[:TOP])
