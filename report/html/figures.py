"""The figures of a page, by plotly; colours are names of the page's style sheet.

What comes from a profile goes through `label`: plotly reads some HTML in texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from fastsa.planner.plan import Plan
from fastsa.records.profile import DeviceUse
from fastsa.records.timeline import PHASES
from fastsa.report import text
from fastsa.report.html import axis
from fastsa.report.html.peak_tree import Tile
from fastsa.report.times import TimeOf

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BARS = 12
DEVICE_LINES = (
    ("everybody", "other"),
    ("this process", "workspace"),
    ("of that, PyTorch's allocator", "activation"),
)
"""The lines of `device`, and their colours."""
_LONGEST_LABEL = 26

Settings = dict[str, Any]


def label(name: str) -> str:
    """Text for plotly, as it is."""
    return escape(text.printable(name), quote=False)


def short(name: str) -> str:
    """A name cut to what there is room for beside a bar; its end tells more than its start."""
    name = text.of_target(name.removeprefix("aten::"))
    return label(name if len(name) <= _LONGEST_LABEL else "…" + name[1 - _LONGEST_LABEL :])


def colour(name: str) -> str:
    """A colour of the style sheet."""
    return f"var(--{name})"


def hover(*lines: str | None) -> str:
    """The text of a hover label: lines without HTML."""
    return "<br>".join(label(line) for line in lines if line)


def figure(traces: Sequence[Settings], **layout: Any) -> Figure:
    """A figure with what all have in common; the page adds fonts, and margins by its width."""
    from plotly import graph_objects

    return graph_objects.Figure(
        list(traces),
        {
            "template": graph_objects.layout.Template(),
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "showlegend": False,
            "hoverlabel": {
                "bgcolor": colour("raised"),
                "bordercolor": colour("rule"),
                "font": {"color": colour("ink")},
                "align": "left",
                "namelength": -1,
            },
            **layout,
        },
    )


def scale(**settings: Any) -> Settings:
    """An axis: quiet lines, no zoom unless asked for."""
    return {
        "gridcolor": colour("grid"),
        "linecolor": colour("rule"),
        "tickcolor": colour("rule"),
        "zerolinecolor": colour("rule"),
        "automargin": True,
        "fixedrange": True,
        **settings,
    }


def title(words: str) -> Settings:
    """The title of an axis."""
    return {"text": words, "font": {"size": 12}, "standoff": 8}


def treemap(tiles: Sequence[Tile], names: str) -> Figure:
    """What makes the peak; `names` says what the whole is called."""
    shown = [i for i, tile in enumerate(tiles) if tile.bytes or not i]
    whole = tiles[0].bytes
    trace: Settings = {
        "type": "treemap",
        "ids": [str(i) for i in shown],
        "labels": [names if not i else label(tiles[i].label) for i in shown],
        "parents": ["" if tiles[i].parent is None else str(tiles[i].parent) for i in shown],
        "values": [tiles[i].bytes for i in shown],
        "text": [text.of_bytes(tiles[i].bytes) for i in shown],
        "customdata": [_tile_hover(tiles[i], whole) for i in shown],
        "hovertemplate": "%{customdata}<extra></extra>",
        "branchvalues": "total",
        "textinfo": "label+text",
        "meta": {"mostlycolor": [colour(tiles[i].mostly) for i in shown]},
        "textfont": {"color": [_tile_ink(tiles[i]) for i in shown]},
        "marker": {
            "colors": [colour(tiles[i].category or "tile") for i in shown],
            "line": {"color": colour("page"), "width": 0.5},
            "pad": {"t": 21, "l": 1, "r": 1, "b": 1},
        },
        "tiling": {"pad": 1},
        "pathbar": {"visible": True, "thickness": 22},
    }
    return figure([trace], uniformtext={"minsize": 10, "mode": "hide"})


def _tile_ink(tile: Tile) -> str:
    return colour("on-colour") if tile.category else colour("ink")


def _tile_hover(tile: Tile, whole: int) -> str:
    share = text.of_share(tile.bytes, whole)
    blocks = f"{text.of_count(tile.blocks)} block{'s' if tile.blocks != 1 else ''}"
    return hover(
        tile.module or "no module",
        tile.category,
        f"{text.of_bytes(tile.bytes)}, {share} of the peak, {blocks}",
    )


def times(lines: Sequence[TimeOf]) -> Figure:
    """The slowest as bars, a part per phase."""
    shown = [each for each in lines if each.seconds > 0][:BARS]
    unit, name = axis.unit_of_seconds(max((each.seconds for each in shown), default=1.0))
    places = list(range(len(shown)))
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": phase,
            "y": places,
            "x": axis.scaled([each.phases.get(phase, 0.0) for each in shown], unit),
            "customdata": [_bar_hover(each) for each in shown],
            "hovertemplate": "%{customdata}<extra></extra>",
            "marker": {"color": colour(phase), "line": {"width": 0}},
        }
        for phase in PHASES
        if any(phase in each.phases for each in shown)
    ]
    return figure(
        traces,
        barmode="stack",
        bargap=0.35,
        height=56 + 26 * len(shown),
        xaxis=scale(ticksuffix=f" {name}", nticks=5),
        yaxis=scale(
            tickvals=places,
            ticktext=[short(each.label or "(none known)") for each in shown],
            autorange="reversed",
            showgrid=False,
            zeroline=False,
            ticklabelstandoff=6,
        ),
    )


def _bar_hover(each: TimeOf) -> str:
    phases = ", ".join(f"{phase} {text.of_seconds(s)}" for phase, s in each.phases.items())
    calls = f"{text.of_seconds(each.seconds)} in {text.of_count(each.calls)} calls"
    return hover(each.label or "(none known)", calls, phases, text.of_source(each.source))


def curve(plans: Sequence[Plan], resident: int, knee: Plan | None) -> Figure:
    """What every budget costs, and what no plan there can go below."""
    budgets = [resident + plan.step_budget_bytes for plan in plans]
    most, least = max(budgets), resident + plans[-1].minimum_budget_bytes
    width = max(most - least, 1)

    def percent(seconds: float, plan: Plan) -> float:
        return 100 * seconds / plan.base_seconds if plan.base_seconds else 0.0

    line: Settings = {
        "type": "scatter",
        "x": budgets,
        "customdata": [_point(p, resident) for p in plans],
    }
    bound = [percent(plan.lower_bound_seconds, plan) for plan in plans]
    extra = [percent(plan.extra_seconds, plan) for plan in plans]
    traces = [
        line
        | {
            "y": bound,
            "mode": "lines",
            "name": "lower bound",
            "fill": "tozeroy",
            "fillcolor": colour("impossible"),
            "line": {"color": colour("quiet"), "width": 1.5, "dash": "dash"},
            "hoverinfo": "skip",
        },
        line
        | {
            "y": extra,
            "mode": "lines+markers",
            "name": "plans",
            "line": {"color": colour("planned"), "width": 2.5},
            "marker": {"size": 7, "color": colour("planned")},
            "hovertemplate": "%{customdata}<extra></extra>",
        },
    ]
    if knee is not None:
        traces.append(
            _spot(resident + knee.step_budget_bytes, percent(knee.extra_seconds, knee), "knee")
        )
    return figure(
        traces,
        shapes=[_vertical(least, "budget")],
        annotations=[_note(least, 1, "minimum,<br>proven", "budget", align="left", yref="paper")],
        xaxis=scale(
            **axis.of_bytes(most, least),
            range=[most + 0.04 * width, least - 0.22 * width],
            title=title("budget"),
        ),
        yaxis=scale(ticksuffix="%", rangemode="tozero", title=title("extra time")),
    )


def _point(plan: Plan, resident: int) -> str:
    extra = text.of_share(plan.extra_seconds, plan.base_seconds)
    bound = text.of_share(plan.lower_bound_seconds, plan.base_seconds)
    return hover(
        f"budget {text.of_bytes(resident + plan.step_budget_bytes)}",
        f"+{extra} time, predicted",
        f"no plan below +{bound}",
    )


def _spot(x: float, y: float, name: str) -> Settings:
    return {
        "type": "scatter",
        "x": [x],
        "y": [y],
        "mode": "markers+text",
        "text": [name],
        "textposition": "top left",
        "textfont": {"color": colour("ink")},
        "marker": {
            "size": 13,
            "color": "rgba(0,0,0,0)",
            "line": {"color": colour("ink"), "width": 1.5},
        },
        "hoverinfo": "skip",
    }


def _vertical(x: float, name: str) -> Settings:
    line = {"color": colour(name), "width": 1.5, "dash": "dot"}
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def _note(x: float, y: float, words: str, name: str, **more: Any) -> Settings:
    font = {"color": colour(name), "size": 12}
    return {
        "x": x,
        "y": y,
        "text": words,
        "showarrow": False,
        "font": font,
        "xanchor": "left",
        **more,
    }


def device(use: DeviceUse) -> Figure:
    """The device's memory during the recording, by NVML."""
    seconds = [sample.seconds for sample in use.samples]
    most = max(sample.used_bytes for sample in use.samples)
    unit, name = axis.unit_of_seconds(max(seconds))
    across = axis.scaled(seconds, unit)
    sizes_of: list[list[int | None]] = [
        [sample.used_bytes for sample in use.samples],
        [sample.process_bytes for sample in use.samples],
        [sample.allocator_bytes for sample in use.samples],
    ]
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": called,
            "x": across,
            "y": sizes,
            "line": {"color": colour(shade), "width": 2, "shape": "hv"},
            "customdata": [None if size is None else text.of_bytes(size) for size in sizes],
            "hovertemplate": f"{called}: %{{customdata}}<extra></extra>",
        }
        for (called, shade), sizes in zip(DEVICE_LINES, sizes_of, strict=True)
        if any(size is not None for size in sizes)
    ]
    return figure(
        traces,
        hovermode="x",
        xaxis=scale(ticksuffix=f" {name}", title=title("time since the first sample")),
        yaxis=scale(**axis.of_bytes(most), range=[0, 1.12 * most or 1]),
    )
