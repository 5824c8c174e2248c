"""`fastsa plan`: the fastest schedule of a graph or profile within a budget."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from fastsa.cli import plan_text, subject
from fastsa.cli.interruptible import INTERRUPTED, interruptible
from fastsa.cli.plan_progress import bar
from fastsa.cli.search_options import search_options, subject_arguments
from fastsa.cli.subject import Subject
from fastsa.errors import BadInput
from fastsa.planner import budget as budgets
from fastsa.planner.baselines import BASELINES
from fastsa.planner.graph import Graph
from fastsa.planner.options import ALGORITHMS, SearchOptions
from fastsa.planner.plan import Plan
from fastsa.report import text

DONE, UNMET = 0, 3


class Task(msgspec.Struct, frozen=True):
    """What to plan, the bytes its own values may take, and what these are made of."""

    subject: Subject
    step_budget_bytes: int
    made_of: str


@click.command()
@subject_arguments
@click.option(
    "--budget", required=True, help="Memory budget: a size (16GiB) or a share of the peak (50%)."
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Plan file to write, compressed if it ends in .gz.",
)
@search_options(5.0, "")
@click.option(
    "--algorithm",
    type=click.Choice((*ALGORITHMS, *BASELINES)),
    default=ALGORITHMS[0],
    show_default=True,
    help="Planning algorithm. All but the first two are baselines for comparison.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the plan as JSON, without its sequence."
)
def command(
    profile_id: str | None,
    graph_path: Path | None,
    budget: str,
    output: Path | None,
    options: SearchOptions,
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
    chosen = subject.read(profile_id, graph_path)
    if graph_path is not None and output is None:
        raise click.UsageError("With --graph, --output says where to write the plan.")
    task = _task(chosen, parsed)

    from fastsa.planner.solve import solve

    with interruptible() as interrupted, bar() as on_progress:
        plan = solve(
            chosen.graph,
            task.step_budget_bytes,
            msgspec.structs.replace(options, algorithm=algorithm),
            cancel=interrupted,
            on_progress=on_progress,
        )
        _keep(plan, task, output)
    _print(plan, task, output, as_json)
    if interrupted.is_set():
        click.echo("fastsa: interrupted: this is the best plan so far", err=True)
        return INTERRUPTED
    return DONE if plan.fits else UNMET


def _task(chosen: Subject, budget: budgets.Budget) -> Task:
    graph, profile = chosen.graph, chosen.profile
    if profile is None and budget.kind == "percent":
        peak = base_peak(graph)
        made_of = f"{budget.text} of the {text.of_bytes(peak)} the step's own values take unplanned"
        return Task(chosen, budget.resolve(peak), made_of)
    whole = budget.resolve(profile.peak_bytes if profile else 0)
    resident = profile.resident_beside_graph if profile else graph.resident_bytes
    made_of = f"{text.of_bytes(whole)} less {text.of_bytes(resident)} resident"
    return Task(chosen, whole - resident, made_of)


def base_peak(graph: Graph) -> int:
    """The peak of the unplanned order, by the memory model."""
    from fastsa.planner import _core
    from fastsa.planner.native import native

    core = native(graph)
    return _core.simulate(core, core.base_order()).peak


def _keep(plan: Plan, task: Task, output: Path | None) -> None:
    if output is not None:
        plan.write(output)
    key = task.subject.key
    if key is not None and plan.status != "infeasible":  # that has no sequence to store
        from fastsa.cache.remote_session import remote_session
        from fastsa.cache.store import Store

        with Store.open() as store:
            stored = store.add_plan(plan, key)
        remote_session().plan_made(plan, key)
        click.echo(f"stored as plan {text.of_id(stored)}", err=True)


def _print(plan: Plan, task: Task, output: Path | None, as_json: bool) -> None:
    if as_json:
        document = msgspec.to_builtins(plan)
        del document["sequence"]
        click.echo(msgspec.json.encode(document))
        return
    click.echo(plan_text.describe(plan, task.subject.graph, task.made_of))
    if output is not None:
        click.echo(f"{output}: written")
