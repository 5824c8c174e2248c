"""How far `fastsa` is from the optimum where that can be proven: on small graphs, and on ResNet-18.

Run from the checkout, with the extra `baselines`:
`python benchmarks/exact.py random --losses losses.json` and `python benchmarks/exact.py resnet18`.

The integer program keeps the ops of a stage in the graph's order, `fastsa` need not: it can win.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import click
import msgspec

from fastsa.errors import BadInput
from fastsa.planner import graph as graphs
from fastsa.planner.baselines.baseline import Effort
from fastsa.planner.baselines.run import load
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan, Planner
from fastsa.planner.search import certify
from fastsa.planner.solve import plan

ROOT = Path(__file__).resolve().parents[1]
RESNET18 = ROOT / "benchmarks" / "graphs" / "resnet18.graph.json.gz"
ROOM = 2**62
EQUAL = 1e-9  # seconds


class Loss(msgspec.Struct, frozen=True):
    """Where the integer program wins: `random_training_graph(seed, length)` of the tests."""

    seed: int
    length: int
    step_budget_bytes: int
    exact_extra_seconds: float
    fastsa_extra_seconds: float | None  # None: no plan within the budget found


@click.group()
def main() -> None:
    """Compare `fastsa` with exact solvers."""


@main.command()
@click.option("--graphs", "count", default=100, show_default=True, help="How many, from seed 0.")
@click.option("--time-limit", default=1.0, show_default=True, help="Seconds for fastsa.")
@click.option("--exact-limit", default=20.0, show_default=True, help="Seconds for the program.")
@click.option("--losses", type=click.Path(path_type=Path), help="JSON file of the lost cases.")
def random(count: int, time_limit: float, exact_limit: float, losses: Path | None) -> None:
    """Random training graphs of 13, 15 and 17 ops, from just above the floor to the base peak."""
    tally = {"better": 0, "equal": 0, "worse": 0, "not proven": 0}
    lost: list[Loss] = []
    for seed in range(count):
        length = 6 + seed % 3
        graph = random_training_graph(seed, length)
        budget = _budget(graph, 0.05 + 0.9 * (seed * 7 % count) / count)
        best, proven = exact(graph, budget, "checkmate-milp", exact_limit)
        ours = plan(graph, budget, time_limit=time_limit)
        verdict = judge(ours, best) if proven else "not proven"
        tally[verdict] += 1
        if verdict == "worse":
            lost.append(_loss(seed, length, ours, best))
            click.echo(msgspec.json.encode(lost[-1]))
    click.echo(", ".join(f"{number} {verdict}" for verdict, number in tally.items()))
    if losses:
        losses.write_bytes(msgspec.json.encode(lost))


@main.command()
@click.option("--budgets", default="80,70,60,50", show_default=True, help="Percent of the peak.")
@click.option("--time-limit", default=5.0, show_default=True, help="Seconds for fastsa.")
@click.option("--exact-limit", default=60.0, show_default=True, help="Seconds for each baseline.")
@click.option("--algorithm", "algorithms", multiple=True, default=("checkmate-milp",))
def resnet18(
    budgets: str, time_limit: float, exact_limit: float, algorithms: tuple[str, ...]
) -> None:
    """ResNet-18 with unit costs: how many ops more than the unplanned step each one runs."""
    graph = graphs.read(RESNET18)
    graph = msgspec.structs.replace(
        graph, ops=tuple(msgspec.structs.replace(op, seconds=1.0) for op in graph.ops)
    )
    base = plan(graph, ROOM, iterations=0).base_peak_bytes
    for percent in budgets.split(","):
        budget = int(base * float(percent) / 100)
        ours = plan(graph, budget, time_limit=time_limit)
        bound = ours.lower_bound_seconds
        click.echo(f"{percent}%: at least {bound:.2f}; fastsa {_extra(ours)}", nl=False)
        for name in algorithms:
            started = time.monotonic()
            found, proven = exact(graph, budget, name, exact_limit)
            took = time.monotonic() - started
            known = "optimum" if proven else "best"
            click.echo(f"; {name} {_extra(found)} ({known} in {took:.1f} s)", nl=False)
            sys.stdout.flush()
        click.echo()


def exact(graph: Graph, budget: int, algorithm: str, limit: float) -> tuple[Plan | None, bool]:
    """The baseline's plan, None if it has none, and whether it proved that none is faster."""
    effort = Effort(time.monotonic() + limit, 0, 1, None)
    try:
        found = load(algorithm)(graph, budget, effort)
    except BadInput as error:
        raise click.ClickException(str(error)) from error
    if found.order is None:
        return None, found.proven
    made_by = Planner(
        version="", algorithm=algorithm, seed=0, threads=1, wall_seconds=0, iterations=0
    )
    return certify(graph, found.order, budget, planner=made_by, time_limit=0.0), found.proven


def judge(ours: Plan, best: Plan | None) -> str:
    """`fastsa` against a proven optimum."""
    if best is None or not best.fits:
        return "better" if ours.fits else "equal"
    if not ours.fits or ours.seconds > best.seconds + EQUAL:
        return "worse"
    return "better" if ours.seconds < best.seconds - EQUAL else "equal"


def random_training_graph(seed: int, length: int) -> Graph:
    """The tests' graph of this seed."""
    sys.path.insert(0, str(ROOT / "tests" / "planner"))
    try:
        build = importlib.import_module("planner_graphs").random_training_graph
    finally:
        sys.path.pop(0)
    graph: Graph = build(seed, length)
    return graph


def _budget(graph: Graph, share: float) -> int:
    """So far between the floor and the base peak."""
    whole = plan(graph, ROOM, iterations=0)
    low = whole.minimum_budget_bytes
    return int(low + share * (whole.base_peak_bytes - low))


def _loss(seed: int, length: int, ours: Plan, best: Plan | None) -> Loss:
    assert best
    extra = ours.extra_seconds if ours.fits else None
    return Loss(seed, length, ours.step_budget_bytes, best.extra_seconds, extra)


def _extra(found: Plan | None) -> str:
    return f"{found.extra_seconds:.0f} more" if found and found.fits else "none"


if __name__ == "__main__":
    main()
