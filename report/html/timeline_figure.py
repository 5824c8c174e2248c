"""The timeline of a profile as a figure: categories stacked, the peak, phases, and a plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from fastsa.records.timeline import CATEGORIES, Timeline
from fastsa.report import text
from fastsa.report.html import axis
from fastsa.report.html.figures import Settings, colour, figure, hover, scale
from fastsa.report.html.planned import PlannedStep, Running
from fastsa.report.levels import Levels, Moment, Span

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def draw(timeline: Timeline, levels: Levels, planned: PlannedStep | None) -> Figure:
    """Bytes over time. The traces of the categories come first, each called like its category."""
    end = max(levels.end, planned.end if planned else 0.0)
    unit, name = axis.unit_of_seconds(end) if levels.timed else (1.0, "")
    highest = [levels.peak.total]
    traces = [*_categories(levels, unit), _total(timeline, levels, unit), _peak(levels, unit)]
    if planned is not None:
        traces.append(_planned(planned, unit))
        highest += [planned.peak_bytes, planned.process_budget_bytes]
    # A budget far above what is used would flatten everything else.
    top = min(max(highest), 2 * max(highest[:2]))
    return figure(
        traces,
        hovermode="x",
        shapes=[*_phases(levels.phases, unit), *_budget(planned)],
        xaxis=scale(
            range=[0, end / unit],
            fixedrange=False,
            showgrid=False,
            ticksuffix=f" {name}",
            hoverformat=" ",
            nticks=7,
        ),
        yaxis=scale(**axis.of_bytes(top), range=[0, 1.12 * top or 1]),
    )


def _categories(levels: Levels, unit: float) -> Iterator[Settings]:
    across = axis.scaled([moment.at for moment in _closed(levels)], unit)
    for position, category in enumerate(CATEGORIES):
        sizes = [moment.bytes[position] for moment in _closed(levels)]
        if any(sizes):
            yield {
                "type": "scatter",
                "mode": "lines",
                "name": category,
                "meta": "category",
                "x": across,
                "y": sizes,
                "stackgroup": "alive",
                "fillcolor": colour(category),
                "line": {"width": 0, "shape": "hv", "color": colour(category)},
                "hoverinfo": "skip",
            }


def _closed(levels: Levels) -> Sequence[Moment]:
    """The moments, and the end of the axis, which the last one holds until."""
    last = levels.moments[-1]
    end = msgspec.structs.replace(last, at=levels.end)
    return (*levels.moments, end)


def _total(timeline: Timeline, levels: Levels, unit: float) -> Settings:
    moments = _closed(levels)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "total",
        "meta": "total",
        "x": axis.scaled([moment.at for moment in moments], unit),
        "y": [moment.total for moment in moments],
        "text": [_moment_hover(timeline, levels, moment) for moment in moments],
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"width": 1, "shape": "hv", "color": colour("outline")},
    }


def _moment_hover(timeline: Timeline, levels: Levels, moment: Moment) -> str:
    when = text.of_seconds(moment.at) if levels.timed else f"event {moment.event}"
    alive = f"{text.of_bytes(moment.total)} alive at {when}"
    if moment.block is None:
        return hover(alive)
    block = timeline.allocations[moment.block]
    site = timeline.site(block)
    phase = f", {site.phase}" if site.phase and moment.born else ""
    return hover(
        alive + phase,
        f"{site.op or site.category}: {text.of_bytes(block.bytes)}"
        f" {'allocated' if moment.born else 'released'}, {site.category}",
        f"in {site.module}" if site.module else None,
        f"at {text.of_source(site.source)}" if site.source else None,
    )


def _peak(levels: Levels, unit: float) -> Settings:
    peak = levels.peak
    side = (
        "right"
        if peak.at < 0.25 * levels.end
        else "left"
        if peak.at > 0.75 * levels.end
        else "center"
    )
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": "peak",
        "x": axis.scaled([peak.at], unit),
        "y": [peak.total],
        "text": [f"peak {text.of_bytes(peak.total)}"],
        "textposition": f"top {side}",
        "textfont": {"color": colour("ink")},
        "cliponaxis": False,
        "marker": {
            "size": 9,
            "color": colour("page"),
            "line": {"color": colour("ink"), "width": 2},
        },
        "hoverinfo": "skip",
    }


def _planned(planned: PlannedStep, unit: float) -> Settings:
    running = planned.running
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "planned",
        "meta": "planned",
        "x": axis.scaled([each.at for each in running], unit),
        "y": [each.bytes for each in running],
        "text": [_running_hover(planned, each) for each in running],
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"width": 2.5, "shape": "hv", "color": colour("planned")},
    }


def _running_hover(planned: PlannedStep, each: Running) -> str:
    run = planned.order.run(each.position)
    again = " again" if run.recomputation else ""
    return hover(
        f"planned: {text.of_bytes(each.bytes)} alive, predicted",
        f"{text.of_target(run.target)}{again}, {run.segment}",
        f"in {run.module}" if run.module else None,
        f"at {text.of_source(run.source)}" if run.source else None,
    )


def _phases(spans: Sequence[Span], unit: float) -> Iterator[Settings]:
    for span in spans:
        yield {
            "type": "rect",
            "layer": "below",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "x0": span.start / unit,
            "x1": span.end / unit,
            "fillcolor": colour(f"{span.phase}-shade"),
            "line": {"width": 0},
            "label": {
                "text": span.phase if span.phase != "other" else "",
                "textposition": "top center",
                "font": {"color": colour("quiet"), "size": 12},
                "padding": 4,
            },
        }


def _budget(planned: PlannedStep | None) -> Iterator[Settings]:
    if planned is not None:
        yield {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": planned.process_budget_bytes,
            "y1": planned.process_budget_bytes,
            "line": {"color": colour("budget"), "width": 1.5, "dash": "dash"},
            "label": {
                "text": f"budget {text.of_bytes(planned.process_budget_bytes)}",
                "textposition": "end",
                "font": {"color": colour("budget"), "size": 12},
            },
        }
