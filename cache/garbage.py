"""Garbage: what has not been used for long, or is too much."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from fastsa.cache import active_plans as uses
from fastsa.cache import items
from fastsa.cache.connection import Connection
from fastsa.cache.items import Item, Removal

BATCH = 16  # items in one transaction: others write in between

# A plan was used when it was made, by runs and by checks; a graph when its plans were; a profile
# when its graphs were. The least recently used first.
_BY_USE = """
    WITH plan_uses AS (
        SELECT id, graph, max(
            created,
            coalesce((SELECT max(created) FROM runs WHERE runs.plan = plans.id), ''),
            coalesce((SELECT max(created) FROM verdicts WHERE verdicts.plan = plans.id), '')
        ) AS used FROM plans),
    graph_uses AS (
        SELECT hash, profile, max(
            max(created),
            coalesce((SELECT max(used) FROM plan_uses WHERE plan_uses.graph = graphs.hash), '')
        ) AS used FROM graphs GROUP BY hash, profile)
    SELECT 'plan' AS kind, id, used FROM plan_uses
    UNION ALL
    SELECT 'graph', hash, max(used) FROM graph_uses
    WHERE hash NOT IN (SELECT hash FROM graphs WHERE profile IS NOT NULL) GROUP BY hash
    UNION ALL
    SELECT 'profile', id, max(created, coalesce(
        (SELECT max(used) FROM graph_uses WHERE graph_uses.profile = profiles.number), ''))
    FROM profiles
    ORDER BY used, kind, id"""

_PLAN_OF_GRAPHS = "SELECT graph FROM plans WHERE id = ?"
_GRAPHS_OF_PROFILE = """SELECT hash FROM graphs JOIN profiles ON profiles.number = graphs.profile
                        WHERE profiles.id = ?"""


class Collected(msgspec.Struct, frozen=True):
    """What went, and the bytes of the file's content before and after."""

    profiles: tuple[str, ...] = ()
    graphs: tuple[str, ...] = ()
    plans: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    bytes_before: int = 0
    bytes_after: int = 0


def collect(
    connection: Connection, before: str | None, max_bytes: int | None, *, dry_run: bool
) -> Collected:
    """See `Store.collect`."""
    if dry_run:
        return _rehearsed(connection, before, max_bytes)
    start = connection.read(content_bytes)
    sweep = _Sweep(before, max_bytes)
    gone: list[Removal] = []
    while not sweep.is_over:
        gone += connection.transaction(sweep.step)
    connection.give_back()
    connection.shorten_log()
    return _collected(gone, start, connection.read(content_bytes))


def _rehearsed(connection: Connection, before: str | None, max_bytes: int | None) -> Collected:
    """What it would be, found out on a copy: nobody waits for that."""
    with tempfile.TemporaryDirectory(prefix="fastsa-gc-") as folder:
        path = Path(folder) / "store.db"
        connection.copy_to(path)
        copy = Connection(path)
        try:
            return collect(copy, before, max_bytes, dry_run=False)
        finally:
            copy.close()


class _Sweep:
    """Goes through everything, the least recently used first, some items in each transaction."""

    def __init__(self, before: str | None, max_bytes: int | None) -> None:
        self.is_over = False
        self._before = before
        self._max_bytes = max_bytes
        self._rows: Iterator[sqlite3.Row] = iter(())
        self._version = -1  # of the file, when it was looked through

    def step(self, connection: sqlite3.Connection) -> list[Removal]:
        """Remove some, inside the caller's transaction."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:  # others have written: what was old may be used again
            self._rows = iter(connection.execute(_BY_USE).fetchall())
            self._version = version
        plans = uses.in_use(connection)
        graphs = _graphs_in_use(connection, plans)
        free = (row for row in self._rows if not _is_in_use(connection, row, plans, graphs))
        removed = []
        for row in islice(free, BATCH):
            if not self._is_to_go(connection, row):
                break
            removed.append(items.remove(connection, Item(row["kind"], row["id"])))
        self.is_over = len(removed) < BATCH
        return removed

    def _is_to_go(self, connection: sqlite3.Connection, row: sqlite3.Row) -> bool:
        if self._before is not None and row["used"] < self._before:
            return True
        return self._max_bytes is not None and content_bytes(connection) > self._max_bytes


def _graphs_in_use(connection: sqlite3.Connection, plans: set[str]) -> set[str]:
    """Graphs whose plans are trained with, or asked for."""
    asked = "SELECT graph FROM requests WHERE state IN ('waiting', 'running')"
    graphs = {row["graph"] for row in connection.execute(asked)}
    for plan in plans:
        graphs |= {row["graph"] for row in connection.execute(_PLAN_OF_GRAPHS, [plan])}
    return graphs


def _is_in_use(
    connection: sqlite3.Connection, row: sqlite3.Row, plans: set[str], graphs: set[str]
) -> bool:
    if row["kind"] == "plan":
        return row["id"] in plans
    if row["kind"] == "graph":
        return row["id"] in graphs
    held = connection.execute(_GRAPHS_OF_PROFILE, [row["id"]])
    return any(each["hash"] in graphs for each in held)


def content_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the pages that hold something."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def _collected(gone: list[Removal], start: int, size: int) -> Collected:
    def ids(kind: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(id for each in gone for id in getattr(each, kind)))

    return Collected(
        ids("profiles"), ids("graphs"), ids("plans"), ids("runs"), ids("verdicts"), start, size
    )
