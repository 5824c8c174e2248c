"""`fastsa curve`: the fastest schedules of a graph or profile at every budget, in one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from fastsa.cli import subject
from fastsa.cli.interruptible import INTERRUPTED, interruptible
from fastsa.cli.plan_progress import bar
from fastsa.cli.search_options import search_options, subject_arguments
from fastsa.cli.subject import Subject
from fastsa.planner.options import SearchOptions
from fastsa.report import text

if TYPE_CHECKING:
    from fastsa.planner.curve import Curve
    from fastsa.report.curve import Whole

DONE = 0


@click.command()
@subject_arguments
@click.option(
    "--points", type=int, default=16, show_default=True, help="Number of budgets to plan for."
)
@search_options(30.0, " and budget")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write all plans to, compressed if it ends in .gz.",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for a plot of the curve, .svg or .png (needs fastsa[plots]).",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the plans as JSON, without their sequences."
)
def command(
    profile_id: str | None,
    graph_path: Path | None,
    points: int,
    options: SearchOptions,
    output: Path | None,
    picture: Path | None,
    as_json: bool,
) -> int:
    """Find the fastest schedules of a stored profile, or of a graph file, at every budget.

    Budgets go from the unplanned peak down to the lowest that can be met. The time limit is for all
    budgets together. Plans of a profile are stored: a job with any budget between them then
    starts at once, with the fastest that fits.

    \b
    fastsa curve 3f2a
    fastsa curve --graph gpt2.json.gz --output curve.json --picture curve.svg

    Ctrl-C keeps the plans so far.
    """
    chosen = subject.read(profile_id, graph_path)
    if picture is not None:
        from fastsa.report import curve_picture
        from fastsa.report import picture as pictures

        pictures.check(picture)

    from fastsa.planner.curve import solve_curve

    with interruptible() as interrupted, bar() as on_progress:
        found = solve_curve(
            chosen.graph,
            options,
            points=points,
            cancel=interrupted,
            on_progress=on_progress,
        )
        _keep(found, chosen, output)
    _print(found, chosen, as_json, graph_path)
    if picture is not None:
        curve_picture.draw(found, chosen.graph.name, _whole(found, chosen), picture)
    for path in (output, picture):
        if path is not None:
            click.echo(f"{path}: written", err=True)
    if interrupted.is_set():
        click.echo("fastsa: interrupted: these are the plans so far", err=True)
        return INTERRUPTED
    return DONE


def _keep(found: Curve, chosen: Subject, output: Path | None) -> None:
    if output is not None:
        found.write(output)
    key = chosen.key
    if key is None:
        return
    from fastsa.cache.remote_session import remote_session
    from fastsa.cache.store import Store

    curve_id = found.id() if found.complete else None
    with Store.open() as store:
        stored = store.add_plans(found.plans, key, curve_id)
    for plan in found.plans:
        remote_session().plan_made(plan, key, in_curve=found.complete)
    where = (
        f" of curve {text.of_id(curve_id)}" if curve_id else ", not as a curve: it was cut short"
    )
    click.echo(f"stored as {len(stored)} plans{where}", err=True)


def _print(found: Curve, chosen: Subject, as_json: bool, graph_path: Path | None) -> None:
    if as_json:
        document = msgspec.to_builtins(found)
        for plan in document["plans"]:
            del plan["sequence"]
        click.echo(msgspec.json.encode(document))
        return
    from fastsa.report import curve, terminal

    whole = _whole(found, chosen)
    terminal.show(curve.render(found, chosen.graph, whole, _next(found, chosen, whole, graph_path)))


def _whole(found: Curve, chosen: Subject) -> Whole:
    from fastsa.report.curve import Whole

    profile = chosen.profile
    if profile is None:
        return Whole("the step's own values", found.base_peak_bytes)
    return Whole("the whole process", profile.peak_bytes, profile.resident_beside_graph)


def _next(found: Curve, chosen: Subject, whole: Whole, graph_path: Path | None) -> str:
    """The command that uses the knee's plan, or the middle one's."""
    plan = found.knee or found.plans[len(found.plans) // 2]
    budget = whole.budget_of(plan.step_budget_bytes)
    if chosen.profile is None:
        return f"fastsa plan --graph {graph_path} --budget {budget} --output plan.json"
    script = " ".join((chosen.profile.script, *chosen.profile.arguments))
    return f"fastsa run --budget {budget} {script}"
