"""`fastsa list`: what is stored."""

from __future__ import annotations

import click
import msgspec

from fastsa.cache.items import KINDS, Kind
from fastsa.cache.store import Store
from fastsa.report import items


@click.command()
@click.option("--kind", type=click.Choice(KINDS), help="Kind of item to list.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(kind: Kind | None, as_json: bool) -> None:
    """List what is stored, latest first.

    The store is the file named by FASTSA_STORE, else store.db in the user's data directory.
    """
    with Store.open() as store:
        report = items.ListReport(
            store=str(store.path),
            items=tuple(store.list_items(kind)),
            counters=store.counters(),
        )
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    from fastsa.report import terminal

    terminal.show(items.render(report))
