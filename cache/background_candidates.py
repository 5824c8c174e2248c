"""Background candidates: what nobody asked for and is worth planning, for what jobs use."""

from __future__ import annotations

import datetime
import sqlite3
import time
from functools import partial

import msgspec

from fastsa.cache.connection import Connection
from fastsa.cache.keys import PlanKey
from fastsa.cache.requests import RequestKind

RECENT_DAYS = 30  # what no job has used for so long is left as it is
AGAIN_DAYS = 1  # until a search that has found something goes on, and one that failed is repeated
LOOK_SECONDS = 3600.0  # until days count, though nobody has written

# Not the payloads: sorting would read them all.
_COLUMNS = "plans.graph, device, torch, cuda, planner, step_budget_bytes"

# The latest used first. A search that found nothing better is over, until a job stores the plan
# anew: its graph was measured again.
_USED = """
    FROM plans JOIN (
        SELECT plan, max(number) AS latest FROM runs WHERE created >= :recent GROUP BY plan
    ) AS used ON used.plan = plans.id
    WHERE EXISTS (SELECT 1 FROM graphs WHERE graphs.hash = plans.graph)"""
_IMPROVE = f"""
    SELECT 'improve' AS kind, {_COLUMNS} {_USED} AND status = 'feasible' AND NOT EXISTS (
        SELECT 1 FROM requests AS past WHERE kind = 'improve' AND past.key = plans.key
        AND past.step_budget_bytes = plans.step_budget_bytes AND (
            past.state IN ('waiting', 'running') OR past.changed >= :again
            OR past.state = 'planned' AND past.plan IS NULL AND past.changed >= plans.created))
    ORDER BY latest DESC LIMIT 1"""
_CURVE = f"""
    SELECT 'curve' AS kind, {_COLUMNS} {_USED} AND NOT EXISTS (
        SELECT 1 FROM requests AS past WHERE kind = 'curve' AND past.key = plans.key
        AND (past.state IN ('waiting', 'running') OR past.changed >= :again))
    AND NOT EXISTS (
        SELECT 1 FROM plans AS other WHERE other.key = plans.key AND other.curve IS NOT NULL)
    ORDER BY latest DESC LIMIT 1"""


class Worth(msgspec.Struct, frozen=True):
    """A request worth making. `step_budget_bytes` are the step's own; a curve has none."""

    kind: RequestKind
    key: PlanKey
    step_budget_bytes: int


class BackgroundCandidates:
    """What is left to do of itself: better plans first, then curves. May raise StoreUnusable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen: int | None = None  # the version of the file in which there was nothing
        self._seen_at = 0.0  # by the monotonic clock

    def next(self) -> Worth | None:
        """The next thing to do. Looking again costs nothing as long as nobody has written."""
        ((version,),) = self._connection.rows("PRAGMA data_version")
        if version == self._seen and time.monotonic() < self._seen_at + LOOK_SECONDS:
            return None
        since = {"recent": _days_ago(RECENT_DAYS), "again": _days_ago(AGAIN_DAYS)}
        for sql in (_IMPROVE, _CURVE):
            for row in self._connection.read(partial(_rows, sql, since)):
                key = PlanKey(
                    row["graph"], row["device"], row["torch"], row["cuda"], row["planner"]
                )
                budget = 0 if row["kind"] == "curve" else row["step_budget_bytes"]
                return Worth(row["kind"], key, budget)
        self._seen, self._seen_at = version, time.monotonic()
        return None


def _rows(sql: str, since: dict[str, str], connection: sqlite3.Connection) -> list[sqlite3.Row]:
    return connection.execute(sql, since).fetchall()


def _days_ago(days: int) -> str:
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    return past.isoformat(timespec="seconds")
