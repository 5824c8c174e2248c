"""`fastsa export`: a stored document as a file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fastsa.cache.items import Item
from fastsa.cache.store import Store
from fastsa.errors import BadInput
from fastsa.planner import files
from fastsa.report import export
from fastsa.report.export import Format


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
    type=click.Choice(export.FORMATS),
    help="What to write of a profile: a region's measured graph (the default), the whole profile"
    " (json is the same), its allocations as csv, a trace for ui.perfetto.dev, or a snapshot"
    " for pytorch.org/memory_viz.",
)
@click.option("--region", type=int, help="Region whose graph to write, if the profile has several.")
def command(id: str, output: Path | None, what: Format | None, region: int | None) -> None:
    """Write a stored graph, plan, profile, run or verdict to a file.

    ID is an unambiguous prefix of its id. The formats are in docs/formats.md and
    docs/exports.md.
    """
    binary = what in export.BINARY
    if binary and output is None and sys.stdout.isatty():
        raise BadInput(f"{what} is not for a terminal", hint="name a file with --output")
    with Store.open() as store:
        item = store.resolve(id)
        if item.kind != "profile" and (what or region is not None):
            raise BadInput(
                f"{id} is a {item.kind}",
                hint="--what and --region are for profiles: leave them out",
            )
        data = _document(store, item, what or "graph", region)
    if output is None:
        click.echo(data, nl=not (binary or data.endswith(b"\n")))
    else:
        files.write(output, data)
        click.echo(f"{output}: written", err=True)


def _document(store: Store, item: Item, what: Format, region: int | None) -> bytes:
    match item.kind:
        case "profile":
            return export.encode(store.profile(item.id), what, region)
        case "graph":
            return store.known_graph(item.id).encode()
        case "plan":
            return store.plan(item.id).encode()
        case "run":
            return store.run(item.id).encode()
        case "verdict":
            return store.verdict(item.id).encode()
