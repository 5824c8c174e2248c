"""A curve as a picture: extra time against budget, and the lower bound below it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from fastsa.planner import files
from fastsa.planner.curve import Curve
from fastsa.report import picture, text
from fastsa.report.curve import Whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_PLAN, _BOUND, _LIMIT = "#1f5fa8", "#b5532a", "#666666"
_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "bytes"))


def draw(curve: Curve, name: str, whole: Whole, path: Path) -> None:
    """Draw the curve to an SVG or PNG file. Raises like `picture.check`."""
    picture.check(path)
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")  # no pyplot: it keeps global state
    axes = figure.add_subplot()
    _plot(axes, curve, whole)
    axes.set_title(text.printable(name).replace("$", r"\$"))
    drawn = io.BytesIO()
    # Without these an SVG of the same curve differs from run to run.
    with matplotlib.rc_context({"svg.hashsalt": "fastsa"}):
        date = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(drawn, format=path.suffix[1:], dpi=150, metadata=date)
    files.write(path, drawn.getvalue())


def _plot(axes: Axes, curve: Curve, whole: Whole) -> None:
    scale, unit = next(each for each in _UNITS if whole.peak_bytes >= each[0] or each[0] == 1)
    step = curve.base_seconds or 1.0
    budgets = [whole.bytes_of(each.step_budget_bytes) / scale for each in curve.plans]
    extra = [100 * each.extra_seconds / step for each in curve.plans]
    bound = [100 * each.lower_bound_seconds / step for each in curve.plans]
    axes.fill_between(budgets, bound, extra, color=_PLAN, alpha=0.15, label="gap")
    axes.plot(budgets, extra, marker="o", color=_PLAN, label="plans, predicted")
    axes.plot(budgets, bound, ".--", color=_BOUND, label="lower bound of any plan there")
    axes.axvline(
        whole.bytes_of(curve.minimum_budget_bytes) / scale,
        color=_LIMIT,
        linestyle=":",
        label="minimum budget, proven",
    )
    if curve.knee is not None:
        place = curve.plans.index(curve.knee)
        axes.annotate(
            "knee",
            (budgets[place], extra[place]),
            textcoords="offset points",
            xytext=(8, 8),
        )
    axes.set_xlabel(f"budget, {unit} of {whole.name}")
    axes.set_ylabel("extra time, % of the step's op times")
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
