"""Table: reads and writes the rows of a store's tables; what is damaged is set aside."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from fastsa.cache import documents, integrity, items, records, rows
from fastsa.cache.connection import Connection
from fastsa.cache.health import Document
from fastsa.cache.items import Kind
from fastsa.cache.keys import bare
from fastsa.errors import BadInput, StoreUnusable
from fastsa.planner import graph as graphs
from fastsa.planner.graph import Graph

REPAIR_SECONDS = 1.0
MOST_QUARANTINED = 100  # rows kept for people to look at

T = TypeVar("T")


class StoreTable:
    """What all tables have in common. Every method may raise StoreUnusable.

    Args:
        connection: To the store's file.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._counts = Counter[str]()  # not written yet

    @property
    def path(self) -> Path:
        """The store's file."""
        return self._connection.path

    def count(self, event: str) -> None:
        """Count an event for `counters`; it is written later if somebody else is writing now.

        Args:
            event: Its name, such as `plan.hit`.
        """
        self._counts[event] += 1
        self._write_counts(wait=0.0)

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # Imported here: it takes 60 to 200 ms, and a job that finds its plan writes no rows; and
        # before the transaction, while no other process waits for its end.
        import sqlite_utils  # noqa: F401

        return self._connection.transaction(work)

    def _replace(self, table: str, record: dict[str, Any]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(f"DELETE FROM {table} WHERE id = ?", [record["id"]])
            rows.insert(connection, table, record)

        self._write(work)

    def _one(self, kind: Kind, type_: type[T], wanted: str) -> tuple[sqlite3.Row, T]:
        rows = self._connection.rows(f"SELECT * FROM {kind}s WHERE id = ?", bare(wanted))
        if not rows:
            raise BadInput(f"{self.path}: there is no {kind} {wanted}", hint="see 'fastsa list'")
        try:
            return rows[0], documents.read(kind, rows[0], type_)
        except integrity.Damaged as error:
            self._quarantine(kind, rows[0], str(error))
            raise StoreUnusable(
                f"{self.path}: {kind} {wanted[:12]} is damaged and was set aside: {error}",
                hint=f"make the {kind} again",
            ) from error

    def _intact(
        self, kind: Document, type_: type[T], where: str, parameters: list[Any], damage: list[str]
    ) -> Iterator[tuple[sqlite3.Row, T]]:
        """The undamaged rows, one payload read at a time; damaged ones are set aside.

        The reasons are added to `damage`.
        """
        numbers = self._connection.rows(f"SELECT number FROM {kind}s WHERE {where}", *parameters)
        for (number,) in numbers:
            for row in self._connection.rows(f"SELECT * FROM {kind}s WHERE number = ?", number):
                try:
                    document = documents.read(kind, row, type_)
                except integrity.Damaged as error:
                    damage.append(str(error))
                    self._quarantine(kind, row, str(error))
                else:
                    yield row, document

    def _quarantine(self, kind: Document, row: sqlite3.Row, reason: str) -> None:
        """Move a damaged row out of the way. If that fails, the next lookup tries again."""
        number = row["number"]
        column = "hash" if kind == "graph" else "id"
        copy = f"""INSERT INTO quarantine (kind, id, reason, created, sha256, payload)
                   SELECT ?, {column}, ?, ?, sha256, payload FROM {kind}s WHERE number = ?"""

        def work(connection: sqlite3.Connection) -> None:
            moved = connection.execute(copy, [kind, reason, records.now(), number])
            if not moved.rowcount:
                return  # another process was faster
            if kind == "profile":  # its graphs have checksums of their own and stay
                connection.execute("UPDATE graphs SET profile = NULL WHERE profile = ?", [number])
            if kind == "plan":
                items.take_curve_apart(connection, row["id"])
            connection.execute(f"DELETE FROM {kind}s WHERE number = ?", [number])
            oldest = (moved.lastrowid or 0) - MOST_QUARANTINED
            connection.execute("DELETE FROM quarantine WHERE number <= ?", [oldest])
            rows.increment(connection, f"{kind}.damaged")

        self._connection.attempt(work, REPAIR_SECONDS)

    def _write_counts(self, wait: float) -> None:
        counts = +self._counts

        def work(connection: sqlite3.Connection) -> None:
            for event, count in counts.items():
                rows.increment(connection, event, count)

        if counts and self._connection.attempt(work, wait):
            self._counts -= counts


def encode_graph(graph: Graph) -> bytes:
    """The payload of a graph's row. Raises BadInput if it is none."""
    graphs.check(graph)
    return integrity.encode(graph)
