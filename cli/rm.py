"""`fastsa rm`: remove what is stored."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from fastsa.cache.items import Item, Removal
from fastsa.cache.store import Store
from fastsa.errors import BadInput


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
def command(ids: tuple[str, ...], yes: bool) -> int:
    """Remove items from the store, with all that depend on them.

    Removing a profile removes its graphs, unless another profile has them; removing a graph
    removes its plans; removing a plan removes its runs and verdicts. Each ID is an unambiguous
    prefix of an id.
    """
    with Store.open() as store:
        chosen = [store.resolve(each) for each in ids]
        if not yes and not _confirmed(store, chosen):
            click.echo("Nothing removed.")
            return 1
        removed = [store.remove(item) for item in chosen]
    click.echo(f"Removed {_count(removed)}.")
    return 0


def _confirmed(store: Store, chosen: list[Item]) -> bool:
    doomed = _count(store.removal(item) for item in chosen)
    if not sys.stdin.isatty():
        raise BadInput(
            f"this would remove {doomed}, and there is no one to ask",
            hint="pass --yes to remove without asking",
        )
    return click.confirm(f"Remove {doomed}?")


def _count(removals: Iterable[Removal]) -> str:
    """`1 profile, 2 plans`: each id once, however many ways lead to it."""
    every = list(removals)
    counts = {
        "profile": len({id for each in every for id in each.profiles}),
        "graph": len({id for each in every for id in each.graphs}),
        "plan": len({id for each in every for id in each.plans}),
        "run": len({id for each in every for id in each.runs}),
        "verdict": len({id for each in every for id in each.verdicts}),
    }
    words = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items() if count]
    return ", ".join(words) or "nothing"
