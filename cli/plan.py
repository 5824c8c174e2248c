"""`fastsa plan`: the fastest schedule of a graph or profile within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from fastsa.cli import plan_text
from fastsa.cli.interruptible import INTERRUPTED, interruptible
from fastsa.cli.plan_progress import bar
from fastsa.errors import BadInput
from fastsa.planner import budget as budgets
from fastsa.planner import graph as graphs
from fastsa.planner.baselines import RIVALS
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.report import text

if TYPE_CHECKING:
    from fastsa.cache.keys import PlanKey
    from fastsa.profiler.profile import Profile

DONE, UNMET = 0, 3
ALGORITHMS = ("fastsa", "fastsa-paper")  # as in planner.solve, which loads the native core


class Task(msgspec.Struct, frozen=True):
    """What to plan: a graph, the bytes its own values may take, and what these are made of."""

    graph: Graph
    budget_bytes: int
    made_of: str
    key: PlanKey | None  # where the plan is to be stored


@click.command()
@click.argument("profile_id", metavar="[PROFILE_ID]", required=False)
@click.option(
    "--graph",
    "graph_path",
    type=click.Path(path_type=Path),
    help="Graph file to plan, instead of a stored profile.",
)
@click.option("--budget", required=True, help="A size (16GiB) or a share of the peak (50%).")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Plan file to write, compressed if it ends in .gz.",
)
@click.option(
    "--time-limit", type=float, default=5.0, show_default=True, help="Seconds to search for."
)
@click.option("--iterations", type=int, help="Proposals per thread to search for at most.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random choices.")
@click.option("--threads", type=int, default=1, show_default=True, help="Searches side by side.")
@click.option(
    "--algorithm",
    type=click.Choice((*ALGORITHMS, *RIVALS)),
    default=ALGORITHMS[0],
    show_default=True,
    help="How to search; all but the first two are rivals, to compare with.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan, without its sequence.")
def command(
    profile_id: str | None,
    graph_path: Path | None,
    budget: str,
    output: Path | None,
    time_limit: float,
    iterations: int | None,
    seed: int,
    threads: int,
    algorithm: str,
    as_json: bool,
) -> int:
    """Find the fastest schedule of a stored profile, or of a graph file, within a budget.

    A size is of the whole process: what is resident is taken off it. A percentage is of the
    profile's measured peak; with --graph, of what the step's own values take at their peak.

    \b
    fastsa plan 3f2a --budget 40GiB
    fastsa plan --graph gpt2.json.gz --budget 50% --output plan.json

    Ctrl-C keeps the best plan so far. Exit status 3: no plan within the budget.
    """
    parsed = budgets.parse(budget)
    if parsed.kind == "auto":
        raise BadInput("budget 'auto' is for a running job", hint="give a size or a percentage")
    if (profile_id is None) == (graph_path is None):
        raise click.UsageError("Give either PROFILE_ID or --graph FILE.")
    if graph_path is not None:
        if output is None:
            raise click.UsageError("With --graph, --output says where to write the plan.")
        task = _of_graph(graphs.read(graph_path), parsed)
    else:
        task = _of_profile(str(profile_id), parsed)

    from fastsa.planner import solve

    with interruptible() as interrupted, bar() as on_progress:
        plan = solve.plan(
            task.graph,
            task.budget_bytes,
            time_limit=time_limit,
            iterations=iterations,
            seed=seed,
            threads=threads,
            algorithm=algorithm,
            cancel=interrupted,
            on_progress=on_progress,
        )
        _keep(plan, task, output)
    _print(plan, task, output, as_json)
    if interrupted.is_set():
        click.echo("fastsa: interrupted: this is the best plan so far", err=True)
        return INTERRUPTED
    return DONE if plan.fits else UNMET


def _of_graph(graph: Graph, budget: budgets.Budget) -> Task:
    if budget.kind == "bytes":
        return _less_resident(graph, budget.resolve(0), graph.resident_bytes, None)
    peak = base_peak(graph)
    made_of = f"{budget.text} of the {text.of_bytes(peak)} the step's own values take unplanned"
    return Task(graph, budget.resolve(peak), made_of, None)


def base_peak(graph: Graph) -> int:
    """The peak of the unplanned order, by the memory model."""
    from fastsa.planner import _core
    from fastsa.planner.native import native

    core = native(graph)
    return _core.simulate(core, core.base_order()).peak


def _of_profile(profile_id: str, budget: budgets.Budget) -> Task:
    from fastsa.cache.store import Store

    with Store.open() as store:
        item = store.resolve(profile_id)
        if item.kind != "profile":
            raise BadInput(
                f"{profile_id} is a {item.kind}, not a profile", hint="see `fastsa list`"
            )
        profile = store.profile(item.id)
    if len(profile.regions) != 1:
        raise BadInput(
            f"profile {profile_id} has {len(profile.regions)} captured regions",
            hint="only a model captured as one region can be planned by itself: export the region's"
            " graph (`fastsa export`) and plan that",
        )
    graph = profile.regions[0].graph
    whole = budget.resolve(profile.peak_bytes)
    return _less_resident(graph, whole, profile.resident_bytes, _key(profile, graph))


def _less_resident(graph: Graph, whole: int, resident: int, key: PlanKey | None) -> Task:
    made_of = f"{text.of_bytes(whole)} less {text.of_bytes(resident)} resident"
    return Task(graph, whole - resident, made_of, key)


def _key(profile: Profile, graph: Graph) -> PlanKey:
    from fastsa.cache.keys import PlanKey
    from fastsa.planner.solve import PLANNER_VERSION

    return PlanKey.of(
        graph.hash(), device=profile.device, versions=profile.versions, planner=PLANNER_VERSION
    )


def _keep(plan: Plan, task: Task, output: Path | None) -> None:
    if output is not None:
        plan.write(output)
    if task.key is not None and plan.status != "infeasible":  # that has no sequence to store
        from fastsa.cache.store import Store

        with Store.open() as store:
            stored = store.add_plan(plan, task.key)
        click.echo(f"stored as plan {text.of_id(stored)}", err=True)


def _print(plan: Plan, task: Task, output: Path | None, as_json: bool) -> None:
    if as_json:
        document = msgspec.to_builtins(plan)
        del document["sequence"]
        click.echo(msgspec.json.encode(document))
        return
    click.echo(plan_text.describe(plan, task.graph, task.made_of))
    if output is not None:
        click.echo(f"{output}: written")
