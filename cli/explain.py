"""`fastsa explain`: what makes a peak, what a plan pays, and what another budget would buy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from fastsa.cli.interruptible import INTERRUPTED, interruptible
from fastsa.cli.plan_progress import bar
from fastsa.errors import BadInput
from fastsa.report import text

if TYPE_CHECKING:
    from fastsa.planner.explain.explanation import Explanation
    from fastsa.planner.graph import Graph
    from fastsa.planner.plan import Plan
    from fastsa.records.profile import Profile


class Question(msgspec.Struct, frozen=True):
    """What to explain, with what is known of the whole process."""

    graph: Graph
    plan: Plan | None = None
    note: str | None = None


@click.command()
@click.argument("id", metavar="[ID]", required=False)
@click.option(
    "--graph",
    "graph_path",
    type=click.Path(path_type=Path),
    help="Graph file to explain, instead of a stored item.",
)
@click.option(
    "--plan", "plan_path", type=click.Path(path_type=Path), help="Plan file of that graph."
)
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Rows per table.")
@click.option(
    "--time-limit",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Seconds to plan for, at each of the other budgets.",
)
@click.option("--no-what-if", is_flag=True, help="Do not plan at other budgets.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with all rows.")
def command(
    id: str | None,
    graph_path: Path | None,
    plan_path: Path | None,
    top: int,
    time_limit: float,
    no_what_if: bool,
    as_json: bool,
) -> int:
    """Explain the peak, what is recomputed and kept, and what sets the minimum budget.

    ID is a prefix of the id of a stored plan, or of a profile or graph: then the unplanned step
    is explained. Then plans with a little more and a little less memory are tried.

    \b
    fastsa explain 3f2a
    fastsa explain --graph gpt2.json.gz --plan plan.json

    Ctrl-C stops planning, and prints what there is.
    """
    if (id is None) == (graph_path is None):
        raise click.UsageError("Give either ID or --graph FILE.")
    if plan_path is not None and graph_path is None:
        raise click.UsageError("--plan goes with --graph; a stored plan is given by its id.")
    asked = _of_files(graph_path, plan_path) if graph_path else _of_store(str(id))

    from fastsa.planner.explain import explanation as explanations

    with interruptible() as interrupted, bar() as on_progress:
        explained = explanations.explain(asked.graph, asked.plan)
        if not no_what_if:
            explained = explanations.with_other_budgets(
                explained,
                asked.graph,
                asked.plan,
                time_limit=time_limit,
                cancel=interrupted,
                on_progress=on_progress,
            )
    _print(explained, asked, top, as_json)
    if interrupted.is_set():
        click.echo("fastsa: interrupted: not every other budget was searched", err=True)
        return INTERRUPTED
    return 0


def _of_files(graph_path: Path, plan_path: Path | None) -> Question:
    from fastsa.planner import graph as graphs
    from fastsa.planner import plan as plans

    return Question(graphs.read(graph_path), plans.read(plan_path) if plan_path else None)


def _of_store(id: str) -> Question:
    from fastsa.cache.store import Store

    with Store.open() as store:
        item = store.resolve(id)
        match item.kind:
            case "plan":
                plan = store.plan(item.id)
                return Question(store.known_graph(plan.graph), plan)
            case "graph":
                return Question(store.known_graph(item.id))
            case "profile":
                return _of_profile(store.profile(item.id), id)
            case "run":
                raise _not_a_graph(id, "run", store.run(item.id).plan)
            case "verdict":
                raise _not_a_graph(id, "verdict", store.verdict(item.id).plan)


def _not_a_graph(id: str, kind: str, plan_id: str) -> BadInput:
    return BadInput(
        f"{id} is a {kind}", hint=f"explain its plan: fastsa explain {text.of_id(plan_id)}"
    )


def _of_profile(profile: Profile, id: str) -> Question:
    if profile.graph is None:
        raise BadInput(
            f"profile {id} has {len(profile.regions)} captured regions and no graph of the whole"
            " step",
            hint="export a region's graph (`fastsa export`) and explain that with --graph",
        )
    measured = (
        f"The profile measured {text.of_bytes(profile.peak_bytes)} for the whole process,"
        f" {text.of_bytes(profile.resident_bytes)} of it resident."
    )
    return Question(profile.graph, note=measured)


def _print(explained: Explanation, asked: Question, top: int, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(explained))
        return
    from fastsa.report import explain, terminal

    terminal.show(explain.render(explained, top=top, note=asked.note))
