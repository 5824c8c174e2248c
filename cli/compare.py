"""`fastsa compare`: several algorithms on one graph, side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from fastsa.cli.interruptible import INTERRUPTED, interruptible
from fastsa.cli.plan import base_peak
from fastsa.errors import BadInput
from fastsa.planner import budget as budgets
from fastsa.planner import graph as graphs
from fastsa.planner.baselines import BASELINES
from fastsa.planner.graph import Graph
from fastsa.planner.options import ALGORITHMS
from fastsa.report import text

if TYPE_CHECKING:
    from fastsa.report.compare import CompareReport

DONE = 0


@click.command()
@click.option(
    "--graph",
    "graph_path",
    required=True,
    type=click.Path(path_type=Path),
    help="Graph file to plan.",
)
@click.option(
    "--budget",
    "wanted",
    multiple=True,
    default=("75%", "50%"),
    show_default=True,
    help="Memory budget: a size (16GiB) or a share of the peak (50%). Repeatable.",
)
@click.option(
    "--algorithm",
    "algorithms",
    multiple=True,
    type=click.Choice((*ALGORITHMS, *BASELINES)),
    help="Algorithm to compare. Repeatable.  [default: all installed]",
)
@click.option(
    "--time-limit",
    type=float,
    default=5.0,
    show_default=True,
    help="Seconds to plan for, per plan.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for a plot of extra time over budget, .svg or .png.",
)
def command(
    graph_path: Path,
    wanted: tuple[str, ...],
    algorithms: tuple[str, ...],
    time_limit: float,
    as_json: bool,
    picture: Path | None,
) -> int:
    """Compare fastsa with other algorithms for recomputation.

    Prints, per budget and algorithm, the extra time, the peak, how far it is above what any plan
    must add, and how long the search took. Rivals that need OR-Tools come with
    pip install 'fastsa[baselines]'.

    \b
    fastsa compare --graph resnet50.json.gz --budget 80% --budget 60% --picture resnet50.svg

    Ctrl-C reports what has been compared so far.
    """
    parsed = [budgets.parse(each) for each in wanted]
    if any(each.kind == "auto" for each in parsed):
        raise BadInput("budget 'auto' is for a running job", hint="give a size or a percentage")

    from fastsa.planner.compare import available, compare
    from fastsa.report import compare as report
    from fastsa.report import compare_picture
    from fastsa.report import picture as pictures

    if picture is not None:
        pictures.check(picture)
    graph = graphs.read(graph_path)
    peak = base_peak(graph)
    sizes = {each.text: _size(each, graph, peak) for each in parsed}
    with interruptible() as interrupted:
        attempts = compare(
            graph,
            sorted(set(sizes.values()), reverse=True),
            tuple(dict.fromkeys(algorithms)) or available(),
            time_limit=time_limit,
            cancel=interrupted,
            on_start=_tell if sys.stderr.isatty() else None,
        )
        compared = report.summarize(graph, peak, sizes.items(), list(attempts), time_limit)
        if picture is not None:
            compare_picture.write(compared, picture)
    if as_json:
        click.echo(msgspec.json.encode(compared))
    else:
        _show(compared)
    if picture is not None and not as_json:
        click.echo(f"\n{picture}: written")
    if interrupted.is_set():
        click.echo("fastsa: interrupted: this has been compared so far", err=True)
        return INTERRUPTED
    return DONE


def _size(budget: budgets.Budget, graph: Graph, peak: int) -> int:
    """Bytes for the step's own values: a size is of the whole process."""
    whole = budget.resolve(peak)
    return whole - graph.resident_bytes if budget.kind == "bytes" else whole


def _tell(algorithm: str, step_budget_bytes: int) -> None:
    click.echo(f"comparing: {algorithm} at {text.of_bytes(step_budget_bytes)}", err=True)


def _show(compared: CompareReport) -> None:
    from fastsa.report import compare, terminal

    terminal.show(compare.render(compared))
