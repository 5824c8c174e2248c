"""Active plans: which plans living processes train with. They are not collected as garbage."""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Collection

from fastsa.cache import owner, records
from fastsa.cache.connection import Connection

WAIT_SECONDS = 0.5  # a note is not worth a longer wait for another process
ELSEWHERE_DAYS = 30  # so long a process of another host or container counts as alive


class ActivePlans:
    """The table `uses`. Notes may be lost, like statistics: nothing raises but `in_use`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, plan_id: str) -> None:
        """Note that this process trains with a plan, and forget what dead ones trained with."""

        def work(connection: sqlite3.Connection) -> None:
            forget_dead(connection)
            connection.execute(
                "INSERT OR REPLACE INTO uses (plan, owner, since) VALUES (?, ?, ?)",
                [plan_id, owner.current(), records.now()],
            )

        self._connection.attempt(work, WAIT_SECONDS)

    def end(self, plan_ids: Collection[str]) -> None:
        """Note that this process trains with these no more; another job of it may with others."""

        def work(connection: sqlite3.Connection) -> None:
            for plan_id in plan_ids:
                connection.execute(
                    "DELETE FROM uses WHERE plan = ? AND owner = ?", [plan_id, owner.current()]
                )

        self._connection.attempt(work, WAIT_SECONDS)

    def in_use(self) -> set[str]:
        """Ids of the plans that processes train with now. Raises StoreUnusable."""
        return self._connection.read(in_use)


def in_use(connection: sqlite3.Connection) -> set[str]:
    """Ids of the plans that living processes train with."""
    return {row["plan"] for row in connection.execute("SELECT * FROM uses") if _is_alive(row)}


def forget_dead(connection: sqlite3.Connection) -> None:
    """Remove the notes of processes that are gone, inside the caller's transaction."""
    for row in connection.execute("SELECT * FROM uses").fetchall():
        if not _is_alive(row):
            connection.execute("DELETE FROM uses WHERE owner = ?", [row["owner"]])


def _is_alive(row: sqlite3.Row) -> bool:
    if owner.is_dead(row["owner"]) or owner.is_here(row["owner"]):
        return not owner.is_dead(row["owner"])
    oldest = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=ELSEWHERE_DAYS)
    return bool(row["since"] >= oldest.isoformat(timespec="seconds"))
