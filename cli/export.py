"""`fastsa export`: a stored document as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from fastsa.cache.items import Item
from fastsa.cache.store import Store
from fastsa.errors import BadInput
from fastsa.planner import files
from fastsa.planner.graph import Graph
from fastsa.profiler.profile import Profile

What = Literal["graph", "profile"]


@click.command()
@click.argument("id")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, compressed if it ends in .gz; stdout by default.",
)
@click.option(
    "--what",
    type=click.Choice(["graph", "profile"]),
    help="Of a profile: a region's measured graph (the default) or the whole profile.",
)
@click.option("--region", type=int, help="Of a profile with several regions: which graph.")
def command(id: str, output: Path | None, what: What | None, region: int | None) -> None:
    """Write a stored graph, plan, profile or run as a JSON file.

    ID is any unambiguous beginning of its id. The formats are in docs/formats.md.
    """
    with Store.open() as store:
        item = store.resolve(id)
        if item.kind != "profile" and (what or region is not None):
            raise BadInput(
                f"{id} is a {item.kind}",
                hint="--what and --region are for profiles: leave them out",
            )
        data = _document(store, item, what or "graph", region)
    if output is None:
        click.echo(data)
    else:
        files.write(output, data)
        click.echo(f"{output}: written", err=True)


def _document(store: Store, item: Item, what: What, region: int | None) -> bytes:
    match item.kind:
        case "profile":
            profile = store.profile(item.id)
            return profile.encode() if what == "profile" else _graph(profile, region).encode()
        case "graph":
            return store.known_graph(item.id).encode()
        case "plan":
            return store.plan(item.id).encode()
        case "run":
            return store.run(item.id).encode()


def _graph(profile: Profile, region: int | None) -> Graph:
    count = len(profile.regions)
    if not count:
        raise BadInput("this profile has no captured graph", hint="export it with --what profile")
    if region is None and count > 1:
        raise BadInput(
            f"this profile has {count} regions", hint=f"choose one with --region 0 to {count - 1}"
        )
    chosen = region or 0
    if not 0 <= chosen < count:
        raise BadInput(f"there is no region {chosen}", hint=f"regions are 0 to {count - 1}")
    return profile.regions[chosen].graph
