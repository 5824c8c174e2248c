"""`fastsa import`: a file of another program, or another fastsa, as a stored profile."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from fastsa.cache.store import Store
from fastsa.profiler import profile_file
from fastsa.report import imported


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(file: Path, as_json: bool) -> None:
    """Store the profile in FILE.

    FILE is a memory snapshot of PyTorch (torch.cuda.memory._dump_snapshot), taken without fastsa,
    or a profile written by `fastsa export --what profile`. A snapshot is read as data: one that
    asks for any function to be called is refused.
    """
    profile = profile_file.read(file)
    with Store.open() as store:
        report = imported.summarize(store.add_profile(profile), profile)
    click.echo(msgspec.json.encode(report) if as_json else imported.render(report))
