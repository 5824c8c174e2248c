"""Garbage: what has not been used for long, or is too much."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from itertools import islice

import msgspec

from fastsa.cache import items, uses
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
    start = connection.read(content_bytes)
    gone: list[Removal] = []
    if dry_run:
        size = _rehearse(connection, before, max_bytes, gone)
    else:
        while removed := connection.transaction(lambda c: _batch(c, before, max_bytes, BATCH)):
            gone += removed
        connection.give_back()
        connection.shorten_log()
        size = connection.read(content_bytes)
    return _collected(gone, start, size)


class _Rehearsed(Exception):
    """Ends the transaction of a rehearsal: nothing of it is kept."""


def _rehearse(
    connection: Connection, before: str | None, max_bytes: int | None, gone: list[Removal]
) -> int:
    size = 0

    def work(c: sqlite3.Connection) -> None:
        nonlocal size
        while removed := _batch(c, before, max_bytes, BATCH):
            gone.extend(removed)
        size = content_bytes(c)
        raise _Rehearsed

    with suppress(_Rehearsed):
        connection.transaction(work)
    return size


def _batch(
    connection: sqlite3.Connection, before: str | None, max_bytes: int | None, most: int
) -> list[Removal]:
    """Remove up to `most` items that are to go, inside the caller's transaction."""
    plans = uses.in_use(connection)
    graphs = _graphs_in_use(connection, plans)
    rows = connection.execute(_BY_USE).fetchall()
    free = (row for row in rows if not _is_in_use(connection, row, plans, graphs))
    removed = []
    for row in islice(free, most):
        is_old = before is not None and row["used"] < before
        if not is_old and (max_bytes is None or content_bytes(connection) <= max_bytes):
            break
        removed.append(items.remove(connection, Item(row["kind"], row["id"])))
    return [each for each in removed if each != Removal()]


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
