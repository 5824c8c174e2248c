"""`fastsa store`: look after the store."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from fastsa import config
from fastsa.cache.garbage import Collected
from fastsa.cache.health import Flaw
from fastsa.cache.store import Store
from fastsa.cli.store_option import store_option
from fastsa.errors import BadInput
from fastsa.planner import budget
from fastsa.planner.budget import format_bytes

if TYPE_CHECKING:
    from fastsa.cache.remote_plans import RemotePlans

REMOTE_SECONDS = 600.0  # for everything together
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"(\d{1,6})\s?([mhdw])", re.ASCII)

_REMOTE = click.option(
    "--remote",
    "url",
    metavar="URL",
    help="Shared folder, s3://... or gs://...  [default: FASTSA_REMOTE]",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def command() -> None:
    """Manage the store: the file with every profile, graph, plan, run and verdict."""


@command.command()
@store_option("path")
@_JSON
def info(path: Path | None, as_json: bool) -> None:
    """Show the store's path, size and contents."""
    with Store.open(path, mends=False) as store:
        facts = store.facts()
    if as_json:
        click.echo(msgspec.json.encode(facts))
        return
    click.echo(facts.path)
    click.echo(f"  schema    {facts.schema_version}, SQLite {facts.sqlite}")
    where = f" on {facts.file_system}" if facts.file_system else ""
    click.echo(f"  journal   {facts.journal}{where}")
    free = facts.file_bytes - facts.content_bytes
    click.echo(
        f"  size      {format_bytes(facts.file_bytes)}, {format_bytes(max(0, free))} of it free, "
        f"and {format_bytes(facts.log_bytes)} of log"
    )
    rows = ", ".join(f"{count} {name}" for name, count in facts.rows.items() if count)
    click.echo(f"  rows      {rows or 'none'}")


@command.command()
@store_option("path")
@click.option("--repair", is_flag=True, help="Move damaged rows to the quarantine table.")
@_JSON
def check(path: Path | None, repair: bool, as_json: bool) -> int:
    """Verify the checksum of everything in the store.

    Exits with 1 if something is damaged.
    """
    with Store.open(path, mends=False) as store:
        flaws = list(store.check())
        if repair:
            for flaw in flaws:
                store.set_aside(flaw)
    if as_json:
        click.echo(msgspec.json.encode({"flaws": flaws, "repaired": repair}))
    else:
        for flaw in flaws:
            click.echo(f"{_place(flaw)}: {flaw.reason}")
        click.echo(_judged(flaws, repair))
    return 1 if flaws else 0


def _place(flaw: Flaw) -> str:
    return "file" if flaw.kind is None else f"{flaw.kind} {(flaw.id or '')[:12]}"


def _judged(flaws: list[Flaw], repaired: bool) -> str:
    if not flaws:
        return "All is well."
    count = f"{len(flaws)} flaw{'s' * (len(flaws) > 1)}"
    if all(flaw.kind is None for flaw in flaws):
        return f"{count}. `sqlite3 FILE .recover` may save the rest."
    if repaired:
        return f"{count}. Damaged rows were moved to the table quarantine."
    return f"{count}. `fastsa store check --repair` moves damaged rows to the table quarantine."


@command.command()
@store_option("path")
@click.option(
    "--older-than", metavar="AGE", help="Remove items not used for this long: 30d, 12h, 8w."
)
@click.option(
    "--max-size",
    metavar="SIZE",
    help="Then remove the least recently used, down to this size: 2GiB.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@_JSON
def gc(
    path: Path | None, older_than: str | None, max_size: str | None, dry_run: bool, as_json: bool
) -> None:
    """Remove items that have not been used for long, or until the store is small enough.

    A plan is used by runs and checks, a graph by its plans, a profile by its graphs. Plans that
    living processes train with stay, and graphs that somebody is planning.
    """
    if older_than is None and max_size is None:
        raise BadInput("nothing is chosen", hint="give --older-than 30d, --max-size 2GiB, or both")
    before = None if older_than is None else _before(older_than)
    most = None if max_size is None else _size(max_size)
    with Store.open(path) as store:
        gone = store.collect(before=before, max_bytes=most, dry_run=dry_run)
    if as_json:
        click.echo(msgspec.json.encode(gone))
        return
    verb = "Would remove" if dry_run else "Removed"
    click.echo(
        f"{verb} {_counted(gone)}: {format_bytes(gone.bytes_before)} of content "
        f"{'would become' if dry_run else 'became'} {format_bytes(gone.bytes_after)}."
    )


def _before(age: str) -> str:
    match = _AGE.fullmatch(age.strip())
    if match is None:
        raise BadInput(f"{age!r} is no age", hint="give minutes, hours, days or weeks: 30d, 12h")
    ago = datetime.timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        then = datetime.datetime.now(datetime.UTC) - ago
    except OverflowError as error:
        raise BadInput(f"{age!r} is too long ago", hint="give fewer weeks") from error
    return then.isoformat(timespec="seconds")


def _size(text: str) -> int:
    parsed = budget.parse(text) if text.strip() != "0" else None
    if parsed is not None and parsed.kind != "bytes":
        raise BadInput(f"{text!r} is no size", hint="give bytes: 2GiB, 500MB")
    return 0 if parsed is None else int(parsed.amount)


def _counted(gone: Collected) -> str:
    counts = {
        "profile": len(gone.profiles),
        "graph": len(gone.graphs),
        "plan": len(gone.plans),
        "run": len(gone.runs),
        "verdict": len(gone.verdicts),
    }
    words = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items() if count]
    return ", ".join(words) or "nothing"


@command.command()
@store_option("path")
def vacuum(path: Path | None) -> None:
    """Rewrite the file at its smallest size.

    Needs as much disk space again meanwhile; writers wait.
    """
    with Store.open(path) as store:
        before = store.path.stat().st_size
        store.vacuum()
        after = store.path.stat().st_size
    click.echo(f"{format_bytes(before)} became {format_bytes(after)}.")


@command.command("export")
@store_option("path")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def export(path: Path | None, file: Path) -> None:
    """Write a consistent copy of the store to a new FILE.

    Other processes may use the store meanwhile. The copy is itself a store.
    """
    with Store.open(path, mends=False) as store:
        store.copy_to(file)
    click.echo(f"{file}: {format_bytes(file.stat().st_size)}")


@command.command("import")
@store_option("path")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_JSON
def import_(path: Path | None, file: Path, as_json: bool) -> int:
    """Add the items of another store.

    FILE is not trusted: it is copied and only read, every document is checked, and a plan is
    added only if it is a legal one of a graph that is there. Exits with 1 if all is refused.
    """
    from fastsa.cache.import_store import take_over

    with Store.open(path) as store:
        taken = take_over(store, file)
    counts = {name: getattr(taken, name) for name in taken.__struct_fields__ if name != "refused"}
    code = int(bool(taken.refused) and not any(counts.values()))
    if as_json:
        click.echo(msgspec.json.encode(taken))
        return code
    words = [f"{count} {name}" for name, count in counts.items() if count]
    click.echo(f"Added or found {', '.join(words) or 'nothing'}.")
    for reason in taken.refused:
        click.echo(f"refused: {reason}", err=True)
    return code


@command.command()
@store_option("path")
@_REMOTE
def push(path: Path | None, url: str | None) -> None:
    """Upload the store's plans and graphs to the remote."""
    with Store.open(path) as store:
        shared = _shared(url)
        graphs, plans = shared.push_all(store)
    click.echo(f"Wrote {graphs} graphs and {plans} plans that were not there.")


@command.command()
@store_option("path")
@_REMOTE
def pull(path: Path | None, url: str | None) -> int:
    """Download all plans and graphs from the remote.

    A job fetches what it needs by itself; this is for a machine that is about to lose its network.
    Exits with 1 if all is refused.
    """
    with Store.open(path) as store:
        shared = _shared(url)
        graphs, plans = shared.fetch_all(store)
    click.echo(f"Added or found {graphs} graphs and {plans} plans.")
    for reason in shared.refused:
        click.echo(f"refused: {reason}", err=True)
    return int(bool(shared.refused) and not graphs + plans)


def _shared(url: str | None) -> RemotePlans:
    from fastsa.cache.remote import Remote
    from fastsa.cache.remote_plans import RemotePlans

    url = url or config.user_value("remote").value
    if url is None:
        raise BadInput("there is no remote", hint="give --remote URL, or set FASTSA_REMOTE")
    return RemotePlans(Remote(url, REMOTE_SECONDS))


@command.command()
@store_option("path")
@_JSON
def stats(path: Path | None, as_json: bool) -> None:
    """Show how often lookups hit, and why they missed."""
    with Store.open(path) as store:
        counters = store.counters()
        requests = store.requests.counts()
    if as_json:
        click.echo(msgspec.json.encode({"lookups": counters, "requests": requests}))
        return
    for kind in ("plan", "graph"):
        hits = counters.get(f"{kind}.hit", 0)
        misses = {
            name.rpartition(".")[2]: count
            for name, count in counters.items()
            if name.startswith(f"{kind}.miss.")
        }
        why = ", ".join(f"{count} {name}" for name, count in misses.items())
        click.echo(
            f"{kind} lookups: {hits} hits, {sum(misses.values())} misses{why and f' ({why})'}"
        )
    others = {n: c for n, c in counters.items() if not re.match(r"(plan|graph)\.(hit|miss)", n)}
    for name, count in (others | {f"requests {n}": c for n, c in requests.items()}).items():
        click.echo(f"{name}: {count}")
