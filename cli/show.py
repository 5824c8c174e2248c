"""`fastsa show`: one profile, graph, plan, run or verdict."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from fastsa.cache.items import Item
from fastsa.cache.store import Store
from fastsa.report import graph, plan, profile, profile_text, run, verdict
from fastsa.report.layout import Part


@click.command()
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(id: str, as_json: bool) -> None:
    """Show a profile, graph, plan, run or verdict. ID is an unambiguous prefix of its id."""
    with Store.open() as store:
        report, tables = _report(store, store.resolve(id))
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    from fastsa.report import terminal

    terminal.show(tables)


def _report(store: Store, item: Item) -> tuple[msgspec.Struct, Iterator[Part]]:
    match item.kind:
        case "profile":
            of_profile = profile.summarize(item.id, store.profile(item.id))
            return of_profile, profile_text.render(of_profile)
        case "graph":
            of_graph = graph.summarize(item.id, store.known_graph(item.id))
            return of_graph, graph.render(of_graph)
        case "plan":
            stored = store.stored_plan(item.id)
            runs = store.runs_of(item.id)
            found = store.graph(stored.plan.graph)
            checked = store.verdict_on(item.id)
            margin = store.margin(stored.plan.graph, stored.key.device)
            of_plan = plan.summarize(stored, found, runs, checked, margin)
            return of_plan, plan.render(of_plan)
        case "run":
            of_run = run.summarize(item.id, store.run(item.id))
            return of_run, run.render(of_run)
        case "verdict":
            of_verdict = verdict.summarize(item.id, store.verdict(item.id))
            return of_verdict, verdict.render(of_verdict)
