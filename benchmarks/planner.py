"""The planner's numbers on real graphs: extra time, bound, gap, peak, first fit, moves per second.

Run from the checkout: `python benchmarks/planner.py` prints them; with `--write` they replace those
in docs/planner.md. About four minutes on two cores.
"""

from __future__ import annotations

import platform
import resource
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

import fastsa
from fastsa.planner import _core
from fastsa.planner import graph as graphs
from fastsa.planner.graph import Graph, Op, Value
from fastsa.planner.native import native
from fastsa.planner.options import ALGORITHMS, Progress
from fastsa.planner.plan import Plan
from fastsa.planner.search import PLANNER_VERSION
from fastsa.planner.solve import plan
from fastsa.planner.validation import validate

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks" / "graphs"
PAGE = ROOT / "docs" / "planner.md"
MARK = "<!-- written by benchmarks/planner.py -->\n"
LARGE = "llama7b_sdpa.graph.json.gz"
HEADER = ("graph", "ops", "budget", "extra", "bound", "gap", "peak", "first fit", "moves/s")


class FirstFit:
    """When the search first had a plan within the budget, in seconds."""

    seconds: float | None = None

    def __call__(self, progress: Progress) -> None:
        """Look at one report."""
        if progress.fits and self.seconds is None:
            self.seconds = progress.elapsed_seconds


class Case(msgspec.Struct, frozen=True):
    """One graph at one budget, planned."""

    name: str
    ops: int
    percent: int
    answer: Plan
    first: float | None

    @property
    def gap(self) -> float:
        """What it adds above the bound, in percent of the step."""
        return points(self.answer, self.answer.extra_seconds - self.answer.lower_bound_seconds)


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--budgets", default="75,50,35,25", show_default=True, help="Percent of base peak.")
@click.option("--time-limits", default="5,1", show_default=True, help="Seconds per plan.")
@click.option("--algorithm", type=click.Choice(ALGORITHMS), default=ALGORITHMS[0])
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--write", is_flag=True, help="Into docs/planner.md.")
def main(
    paths: tuple[Path, ...],
    budgets: str,
    time_limits: str,
    algorithm: str,
    seed: int,
    threads: int,
    write: bool,
) -> None:
    """Plan every graph at every budget; PATHS are graph files, by default benchmarks/graphs."""
    lines = [about(algorithm, seed, threads)]
    for limit in map(float, time_limits.split(",")):
        cases = [
            run(path, int(percent), limit, algorithm, seed, threads)
            for path in paths or sorted(HERE.glob("*.json.gz"))
            for percent in budgets.split(",")
        ]
        lines += ["", f"### {limit:g} s per plan", "", *table(cases)]
    lines += ["", "### Large graphs", "", *large(seed, threads)]
    text = "\n".join(lines) + "\n"
    if not write:
        click.echo(text)
        return
    kept = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    PAGE.write_text(kept + MARK + text, encoding="utf-8")


def about(algorithm: str, seed: int, threads: int) -> str:
    """What ran where."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {threads} threads, seed {seed}, "
        f"`{algorithm}`, fastsa {fastsa.__version__}, planner {PLANNER_VERSION}. Percent of the "
        "unplanned step's op times, predicted; seconds of planning and moves measured."
    )


def run(path: Path, percent: int, limit: float, algorithm: str, seed: int, threads: int) -> Case:
    """Plan, and check by the validator."""
    graph = graphs.read(path)
    first = FirstFit()
    answer = plan(
        graph,
        base_peak(graph) * percent // 100,
        time_limit=limit,
        algorithm=algorithm,
        seed=seed,
        threads=threads,
        on_progress=first,
    )
    validate(graph, answer)
    return Case(path.name.split(".")[0], len(graph.ops), percent, answer, first.seconds)


def base_peak(graph: Graph) -> int:
    """Of the unplanned order, in bytes."""
    core = native(graph)
    return _core.simulate(core, core.base_order()).peak


def table(cases: Sequence[Case]) -> Iterator[str]:
    """One row per case, and what they come to."""
    yield markdown(HEADER)
    yield markdown(["---"] * len(HEADER))
    for case in cases:
        yield markdown(row(case))
    fitting = [case.gap for case in cases if case.answer.fits]
    impossible = sum(case.answer.status == "infeasible" for case in cases)
    yield ""
    yield (
        f"Above the bound: **mean {sum(fitting) / max(1, len(fitting)):.2f}, worst "
        f"{max(fitting, default=0):.2f} points** over {len(fitting)} plans within their budget; "
        f"{impossible} budgets proven impossible, {len(cases) - len(fitting) - impossible} not met."
    )


def row(case: Case) -> tuple[str, ...]:
    """One plan's cells; times in percent of the unplanned step."""
    answer = case.answer
    head = (case.name, str(case.ops), f"{case.percent}%")
    if answer.status == "infeasible":
        return (*head, "impossible", "", "", "", "", "")
    moves = answer.planner.iterations / max(answer.planner.wall_seconds, 1e-9)
    return (
        *head,
        f"{points(answer, answer.extra_seconds):.2f}",
        f"{points(answer, answer.lower_bound_seconds):.2f}",
        "optimal" if answer.status == "optimal" else f"{case.gap:.2f}",
        f"{100 * answer.peak_bytes / answer.base_peak_bytes:.1f}%",
        f"{case.first:.2f} s" if case.first is not None else "not found",
        f"{moves / 1e6:.1f}M",
    )


def points(answer: Plan, seconds: float) -> float:
    """Seconds in percent of the unplanned step."""
    return 100 * seconds / answer.base_seconds


def markdown(cells: Sequence[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"


def large(seed: int, threads: int) -> Iterator[str]:
    """A graph of 4,000 ops, and of more than 100,000: the same one many times over."""
    header = ("ops", "time limit", "first fit", "extra", "bound", "bound takes", "process's peak")
    yield markdown(header)
    yield markdown(["---"] * len(header))
    one = graphs.read(HERE / LARGE)
    for times, limit in ((1, 5.0), (3, 5.0), (26, 60.0)):
        graph = tiled(one, times)
        budget = base_peak(graph) // 2
        core = native(graph)
        bound = _core.certify(core, core.base_order(), budget, limit)
        first = FirstFit()
        answer = plan(
            graph, budget, time_limit=limit, seed=seed, threads=threads, on_progress=first
        )
        validate(graph, answer)
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        yield markdown(
            (
                f"{len(graph.ops):,}",
                f"{limit:g} s",
                f"{first.seconds:.2f} s" if first.seconds is not None else "not found",
                f"{points(answer, answer.extra_seconds):.2f}",
                f"{points(answer, answer.lower_bound_seconds):.2f}",
                f"{bound.elapsed:.2f} s",
                f"{megabytes:.0f} MiB so far",
            )
        )


def tiled(graph: Graph, times: int) -> Graph:
    """The graph's steps one after the other, as one step of as many regions."""
    values = len(graph.values)
    segments = len(graph.segments)
    ops = tuple(
        Op(
            id=t * len(graph.ops) + op.id,
            target=op.target,
            segment=t * segments + op.segment,
            seconds=op.seconds,
            inputs=tuple(t * values + v for v in op.inputs),
            outputs=tuple(t * values + v for v in op.outputs),
            recomputable=op.recomputable,
            workspace_bytes=op.workspace_bytes,
        )
        for t in range(times)
        for op in graph.ops
    )
    copies = tuple(
        msgspec.structs.replace(segment, region=t)
        for t in range(times)
        for segment in graph.segments
    )
    sizes = tuple(Value(t * values + v.id, v.bytes) for t in range(times) for v in graph.values)
    return msgspec.structs.replace(graph, segments=copies, ops=ops, values=sizes, outputs=())


if __name__ == "__main__":
    main()
