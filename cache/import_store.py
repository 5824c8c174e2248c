"""Import: another store, perhaps a stranger's, whose documents are taken over one by one.

Nothing of it is trusted. The file is copied first: bringing its tables up to date and setting
damaged rows aside happens to the copy. Every document is decoded, checked and gets its id anew.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from fastsa.cache import schema
from fastsa.cache.plans import StoredPlan
from fastsa.cache.store import Store
from fastsa.errors import BadInput, FastsaError
from fastsa.planner.validation import validate

MAX_BYTES = 64 << 30
MOST_REASONS = 20


class TakenOver(msgspec.Struct):
    """How many documents were added or were there already; why others were refused (the first
    few).
    """

    profiles: int = 0
    graphs: int = 0
    plans: int = 0
    runs: int = 0
    verdicts: int = 0
    refused: list[str] = []


def take_over(store: Store, file: Path) -> TakenOver:
    """Add the documents of another store. Raises BadInput if it is none, and StoreUnusable."""
    taken = TakenOver()
    with _copied(file) as path, Store.open(path) as other:
        _take_profiles(store, other, taken)
        _take_graphs(store, other, taken)
        _take_plans(store, other, taken)
        _take_runs(store, other, taken)
    return taken


@contextlib.contextmanager
def _copied(file: Path) -> Iterator[Path]:
    if file.stat().st_size > MAX_BYTES:
        raise BadInput(f"{file}: too large for a store", hint="export part of it")
    with tempfile.TemporaryDirectory(prefix="fastsa-import-") as folder:
        path = Path(folder) / "store.db"
        try:
            # SQLite's own copy: of one moment, with what the log has, while others may write.
            uri = f"{file.absolute().as_uri()}?mode=ro"
            with (
                contextlib.closing(sqlite3.connect(uri, uri=True)) as source,
                contextlib.closing(sqlite3.connect(path)) as copy,
            ):
                source.execute("PRAGMA trusted_schema = OFF")
                source.backup(copy)
        except sqlite3.Error as error:
            raise BadInput(f"{file}: no store: {error}", hint="name a store's file") from error
        _check_tables(path, file)
        yield path


def _check_tables(path: Path, file: Path) -> None:
    """Refuse what would run or pretend: triggers, and views in place of tables."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise BadInput(f"{file}: an empty database", hint="name a store's file")
            schema.is_current(connection, str(file))  # raises for other programs' databases
            odd = connection.execute(
                "SELECT type, name, sql FROM sqlite_master WHERE type IN ('trigger', 'view')"
            ).fetchall()
            flaws = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise BadInput(f"{file}: no store: {error}", hint="name a store's file") from error
    ours = {each.strip() for statements in schema.MIGRATIONS for each in statements}
    for kind, name, sql in odd:
        if sql not in ours:
            raise BadInput(
                f"{file}: not a store as fastsa makes them: it has a {kind} {name}",
                hint="do not use it",
            )
    if flaws != ("ok",):
        raise BadInput(f"{file}: damaged: {flaws[0]}", hint="`sqlite3 FILE .recover` may save it")


def _take_profiles(store: Store, other: Store, taken: TakenOver) -> None:
    for row in reversed(other.list_items("profile")):
        with _refusing(taken, f"profile {row.id[:12]}"):
            store.add_profile(other.profile(row.id))
            taken.profiles += 1


def _take_graphs(store: Store, other: Store, taken: TakenOver) -> None:
    for graph_hash, captured_hash in other.graph_hashes(loose=True):
        with _refusing(taken, f"graph {graph_hash[:12]}"):
            graph = other.known_graph(graph_hash)
            if graph.hash() != f"sha256:{graph_hash}":
                raise BadInput("it is another than its hash says", hint="do not use it")
            if store.graph(graph_hash) is None:
                store.add_graph(graph, captured_hash)
            taken.graphs += 1


def _take_plans(store: Store, other: Store, taken: TakenOver) -> None:
    curves: dict[str, list[StoredPlan]] = defaultdict(list)
    for row in reversed(other.list_items("plan")):
        with _refusing(taken, f"plan {row.id[:12]}"):
            stored = other.stored_plan(row.id)
            graph = store.graph(stored.plan.graph)
            if graph is None:
                raise BadInput("its graph is not there", hint="record a profile")
            if stored.plan.fits:
                validate(graph, stored.plan)
            curves[stored.curve or stored.id].append(stored)
    for name, plans in curves.items():
        with _refusing(taken, f"plans of {name[:12]}"):
            curve = name if plans[0].curve else None
            store.add_plans([each.plan for each in plans], plans[0].key, curve)
            taken.plans += len(plans)


def _take_runs(store: Store, other: Store, taken: TakenOver) -> None:
    for row in reversed(other.list_items("run")):
        with _refusing(taken, f"run {row.id[:12]}"):
            run = other.run(row.id)
            store.plan(run.plan)  # raises if there is none
            store.add_run(run)
            taken.runs += 1
    for row in reversed(other.list_items("verdict")):
        with _refusing(taken, f"verdict {row.id[:12]}"):
            verdict = other.verdict(row.id)
            store.plan(verdict.plan)
            store.add_verdict(verdict)
            taken.verdicts += 1


@contextlib.contextmanager
def _refusing(taken: TakenOver, what: str) -> Iterator[None]:
    try:
        yield
    except FastsaError as error:
        if len(taken.refused) < MOST_REASONS:
            taken.refused.append(f"{what}: {error.message}")
