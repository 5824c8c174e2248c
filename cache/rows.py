"""Rows into tables, inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from fastsa.cache import records
from fastsa.planner.graph import Graph


def table(connection: sqlite3.Connection, name: str) -> Any:
    """A table, through sqlite-utils."""
    import sqlite_utils

    # Plugins are other people's code, and would run on every connection.
    return sqlite_utils.Database(connection, execute_plugins=False).table(name)


def insert(connection: sqlite3.Connection, name: str, record: dict[str, Any]) -> int:
    """Insert a row; its number."""
    return int(table(connection, name).insert(record).last_rowid)


def insert_all(connection: sqlite3.Connection, name: str, rows: Iterable[dict[str, Any]]) -> None:
    """Insert many rows."""
    table(connection, name).insert_all(rows)


def insert_graph(connection: sqlite3.Connection, graph: Graph, record: dict[str, Any]) -> None:
    """Insert a graph with its ops and regions."""
    number = insert(connection, "graphs", record)
    insert_all(connection, "ops", records.op_records(graph, number))
    insert_all(connection, "graph_regions", records.region_records(graph, record, number))


def increment(connection: sqlite3.Connection, event: str, count: int = 1) -> None:
    """Count an event."""
    connection.execute(
        """INSERT INTO counters VALUES (?, ?)
           ON CONFLICT (event) DO UPDATE SET count = count + excluded.count""",
        [event, count],
    )
