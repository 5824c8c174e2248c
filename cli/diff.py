"""`fastsa diff`: two profiles side by side."""

from __future__ import annotations

import click
import msgspec

from fastsa.cache.store import Store
from fastsa.errors import BadInput
from fastsa.records.profile import Profile
from fastsa.report import diff


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(a: str, b: str, as_json: bool) -> None:
    """Show how profile B differs from profile A, in memory and time.

    A and B are unambiguous prefixes of their ids. They may be of different scripts, models
    and shapes.
    """
    with Store.open() as store:
        report = diff.summarize(*_profile(store, a), *_profile(store, b))
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    from fastsa.report import terminal

    terminal.show(diff.render(report))


def _profile(store: Store, prefix: str) -> tuple[str, Profile]:
    item = store.resolve(prefix)
    if item.kind != "profile":
        raise BadInput(f"{prefix} is a {item.kind}, not a profile", hint="see `fastsa list`")
    return item.id, store.profile(item.id)
