"""`fastsa report`: the pictures of a profile, in one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastsa.errors import BadInput

if TYPE_CHECKING:
    from fastsa.cache.store import Store
    from fastsa.report.html.subject import PageSubject, PlanUse


@click.command()
@click.argument("id")
@click.option(
    "--html",
    "-o",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.  [default: fastsa-report-ID.html]",
)
@click.option("--plan", "plan_id", help="Plan of the profile's graph: draws before and after.")
def command(id: str, path: Path | None, plan_id: str | None) -> None:
    """Draw a profile's memory and time as one HTML file.

    ID is an unambiguous prefix of the id of a profile, or of a plan: then its graph's profile is
    drawn before and after. The file is self-contained: no network, no other file.

    \b
    fastsa report 3f2a
    fastsa report 3f2a --plan 9c01 --html step.html
    """
    from fastsa.report import text
    from fastsa.report.html import document

    document.check(path or Path("report.html"))
    subject = _subject(id, plan_id)
    written = path or Path(f"fastsa-report-{text.of_id(subject.id)}.html")
    document.write(subject, written)
    click.echo(f"{written}: written")


def _subject(id: str, plan_id: str | None) -> PageSubject:
    from fastsa.cache.store import Store

    with Store.open() as store:
        item = store.resolve(id)
        if item.kind == "plan" and plan_id is None:
            use = _use(store, item.id)
            return _of(store, _profile_of(store, use), use)
        if item.kind != "profile":
            raise BadInput(f"{id} is a {item.kind}, not a profile", hint="see `fastsa list`")
        if plan_id is None:
            return _of(store, item.id, None)
        chosen = store.resolve(plan_id)
        if chosen.kind != "plan":
            raise BadInput(f"{plan_id} is a {chosen.kind}, not a plan", hint="see `fastsa list`")
        return _of(store, item.id, _use(store, chosen.id))


def _use(store: Store, plan_id: str) -> PlanUse:
    from fastsa.report.html.subject import PlanUse

    return PlanUse(plan_id, store.plan(plan_id), store.runs_of(plan_id))


def _profile_of(store: Store, use: PlanUse) -> str:
    found = store.profile_of(use.plan.graph)
    if found is None:
        raise BadInput(
            f"there is no profile of the graph of plan {use.id[:12]}",
            hint="record one with `fastsa profile`",
        )
    return found


def _of(store: Store, profile_id: str, use: PlanUse | None) -> PageSubject:
    from fastsa.report.html.subject import PageSubject

    subject = PageSubject(profile_id, store.profile(profile_id), use)
    if subject.graph is None:
        return subject
    plans = store.latest_curve(subject.graph.hash(), subject.profile.device)
    return PageSubject(profile_id, subject.profile, use, plans)
