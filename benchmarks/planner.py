"""A table over graphs and budgets: extra time, bound, peak, status, seconds and moves per second.

Run from the checkout: `python benchmarks/planner.py --markdown > table.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from fastsa.planner import graph as graphs
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.planner.solve import ALGORITHMS, Progress, plan
from fastsa.planner.validation import validate

HERE = Path(__file__).parent / "graphs"
HEADER = (
    "graph", "ops", "budget", "status", "extra", "bound", "gap", "peak", "first fit", "seconds",
    "moves/s",
)  # fmt: skip


class FirstFit:
    """When the search first had a plan within the budget, to a tenth of a second."""

    seconds: float | None = None

    def __call__(self, progress: Progress) -> None:
        """Look at one report."""
        if progress.fits and self.seconds is None:
            self.seconds = progress.elapsed_seconds


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--budgets", default="50,25", show_default=True, help="Percent of the base peak.")
@click.option("--time-limit", default=5.0, show_default=True, help="Seconds per plan.")
@click.option("--algorithm", type=click.Choice(ALGORITHMS), default=ALGORITHMS[0])
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
def main(
    paths: tuple[Path, ...],
    budgets: str,
    time_limit: float,
    algorithm: str,
    seed: int,
    threads: int,
    markdown: bool,
) -> None:
    """Plan every graph at every budget; PATHS are graph files, by default benchmarks/graphs."""
    show(HEADER, markdown)
    if markdown:
        show(["---"] * len(HEADER), markdown)
    gaps = []
    for path in paths or sorted(HERE.glob("*.json.gz")):
        graph = graphs.read(path)
        base = plan(graph, 2**62, iterations=0).base_peak_bytes
        for percent in budgets.split(","):
            first = FirstFit()
            answer = plan(
                graph,
                int(base * float(percent) / 100),
                time_limit=time_limit,
                algorithm=algorithm,
                seed=seed,
                threads=threads,
                on_progress=first,
            )
            validate(graph, answer)
            show(row(path, graph, percent, answer, first), markdown)
            if answer.fits:
                gaps.append(points(answer, answer.extra_seconds - answer.lower_bound_seconds))
    click.echo()
    click.echo(f"gap: mean {sum(gaps) / max(len(gaps), 1):.2f}, worst {max(gaps, default=0):.2f}")


def row(path: Path, graph: Graph, percent: str, answer: Plan, first: FirstFit) -> Iterable[str]:
    """One plan's cells; times in percent of the unplanned step."""
    planned = answer.status != "infeasible"
    moves = answer.planner.iterations / max(answer.planner.wall_seconds, 1e-9)
    gap = answer.extra_seconds - answer.lower_bound_seconds
    return (
        path.name.split(".")[0],
        str(len(graph.ops)),
        f"{percent}%",
        answer.status,
        f"{points(answer, answer.extra_seconds):.2f}" if planned else "",
        f"{points(answer, answer.lower_bound_seconds):.2f}" if planned else "",
        f"{points(answer, gap):.2f}" if planned else "",
        f"{100 * answer.peak_bytes / answer.base_peak_bytes:.1f}%" if planned else "",
        f"{first.seconds:.2f}" if first.seconds is not None else "",
        f"{answer.planner.wall_seconds:.2f}",
        f"{moves / 1e6:.2f}M" if planned else "",
    )


def points(answer: Plan, seconds: float) -> float:
    """Seconds in percent of the unplanned step."""
    return 100 * seconds / answer.base_seconds


def show(cells: Iterable[str], markdown: bool) -> None:
    """One line of the table."""
    if markdown:
        click.echo("| " + " | ".join(cells) + " |")
        return
    widths: Sequence[int] = (24, 5, 6, 10, 6, 6, 6, 6, 9, 7, 7)
    click.echo("  ".join(f"{c:{w}}" for c, w in zip(cells, widths, strict=True)).rstrip())
    sys.stdout.flush()


if __name__ == "__main__":
    main()
