"""A comparison as a picture: extra time over budget, a line per algorithm, and the bound below.

Needs matplotlib, which the extra `plots` brings. Nothing of pyplot's global state is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastsa.errors import FastsaError
from fastsa.report import picture, text
from fastsa.report.compare import CompareReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart; with shapes, as does a photocopy.
STYLES = {
    "fastsa": ("#0072B2", "o"),
    "fastsa-paper": ("#56B4E9", "s"),
    "checkmate-milp": ("#D55E00", "^"),
    "checkmate-lp": ("#E69F00", "v"),
    "retention-intervals": ("#009E73", "D"),
    "torch-knapsack": ("#CC79A7", "P"),
    "checkpoint-every-block": ("#7F7F7F", "X"),
}
INK, FAINT = "#222222", "#D9D9D9"


def write(report: CompareReport, path: Path) -> None:
    """Draw the report to an SVG or PNG file. Raises BadInput as `picture.check` does."""
    picture.check(path)
    try:
        draw(report).savefig(path, dpi=200, metadata=_metadata(path))
    except OSError as error:
        raise FastsaError(
            f"{path}: cannot be written: {error.strerror}", hint="check the folder and the disk"
        ) from error


def draw(report: CompareReport) -> Figure:
    """The figure: plans within their budget only."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    _bound(axes, report)
    for algorithm in STYLES:
        _algorithm(axes, report, algorithm)
    _dress(axes, report)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=10
    )
    return figure


def _metadata(path: Path) -> dict[str, str | None]:
    return {"Date": None} if path.suffix.lower() == ".svg" else {}  # same report, same file


def _bound(axes: Axes, report: CompareReport) -> None:
    points = sorted(
        (budget.budget_percent, budget.lower_bound_percent)
        for budget in report.budgets
        if budget.budget_percent is not None and budget.lower_bound_percent is not None
    )
    if not points:
        return
    across, up = zip(*points, strict=True)
    axes.fill_between(across, up, color=FAINT, alpha=0.5, linewidth=0, zorder=1)
    axes.plot(across, up, color=INK, linewidth=1.5, linestyle=(0, (4, 2)), label="lower bound")


def _algorithm(axes: Axes, report: CompareReport, algorithm: str) -> None:
    points = sorted(_within(report, algorithm))
    if not points:
        return
    colour, marker = STYLES[algorithm]
    across, up = zip(*points, strict=True)
    ours = algorithm == "fastsa"
    axes.plot(
        across,
        up,
        color=colour,
        marker=marker,
        markersize=8 if ours else 6,
        linewidth=2.5 if ours else 1.5,
        label=algorithm,
        zorder=4 if ours else 3,
    )


def _within(report: CompareReport, algorithm: str) -> Iterator[tuple[float, float]]:
    for budget in report.budgets:
        for line in budget.algorithms:
            within = line.algorithm == algorithm and line.outcome == "within budget"
            if within and budget.budget_percent is not None and line.extra_percent is not None:
                yield budget.budget_percent, line.extra_percent


def _dress(axes: Axes, report: CompareReport) -> None:
    name = text.printable(report.graph_name).replace("$", r"\$")  # between two of them: a formula
    axes.set_title(
        f"{name}, {text.of_count(report.ops)} ops", loc="left", fontsize=13, color=INK, pad=12
    )
    peak = text.of_bytes(report.base_peak_bytes)
    axes.set_xlabel(f"Budget, % of the unplanned peak ({peak})", fontsize=11, color=INK)
    axes.set_ylabel("Extra time, % of the step (predicted)", fontsize=11, color=INK)
    axes.set_xticks([each.budget_percent for each in report.budgets if each.budget_percent])
    axes.xaxis.set_major_formatter("{x:.4g}")
    axes.invert_xaxis()  # less memory to the right
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#888888")
    axes.tick_params(labelsize=10, colors=INK)
