"""Agenda: what nobody has asked for and is worth planning all the same, for what jobs use."""

from __future__ import annotations

import datetime

import msgspec

from fastsa.cache.connection import Connection
from fastsa.cache.keys import PlanKey
from fastsa.cache.requests import RequestKind

RECENT_DAYS = 30  # what no job has used for so long is left as it is

# Not the payloads: sorting would read them all.
_COLUMNS = "plans.graph, device, torch, cuda, planner, budget_bytes"

# The latest used first; nothing twice: whatever came of a request, its row is there.
_USED = """
    FROM plans JOIN (
        SELECT plan, max(number) AS latest FROM runs WHERE created >= ? GROUP BY plan
    ) AS used ON used.plan = plans.id
    WHERE EXISTS (SELECT 1 FROM graphs WHERE graphs.hash = plans.graph)"""
_IMPROVE = f"""
    SELECT 'improve' AS kind, {_COLUMNS} {_USED} AND status = 'feasible' AND NOT EXISTS (
        SELECT 1 FROM requests WHERE kind = 'improve' AND requests.key = plans.key
        AND requests.budget_bytes = plans.budget_bytes)
    ORDER BY latest DESC LIMIT 1"""
_CURVE = f"""
    SELECT 'curve' AS kind, {_COLUMNS} {_USED} AND NOT EXISTS (
        SELECT 1 FROM requests WHERE kind = 'curve' AND requests.key = plans.key)
    AND NOT EXISTS (
        SELECT 1 FROM plans AS other WHERE other.key = plans.key AND other.curve IS NOT NULL)
    ORDER BY latest DESC LIMIT 1"""


class Worth(msgspec.Struct, frozen=True):
    """A request worth making. `budget_bytes` are the step's own; a curve has none."""

    kind: RequestKind
    key: PlanKey
    budget_bytes: int


class Agenda:
    """What is left to do of itself: better plans first, then curves. May raise StoreUnusable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen: int | None = None  # the version of the file in which there was nothing

    def next(self) -> Worth | None:
        """The next thing to do. Looking again costs nothing as long as nobody has written."""
        ((version,),) = self._connection.rows("PRAGMA data_version")
        if version == self._seen:
            return None
        days = datetime.timedelta(days=RECENT_DAYS)
        since = (datetime.datetime.now(datetime.UTC) - days).isoformat(timespec="seconds")
        for sql in (_IMPROVE, _CURVE):
            for row in self._connection.rows(sql, since):
                key = PlanKey(
                    row["graph"], row["device"], row["torch"], row["cuda"], row["planner"]
                )
                budget = 0 if row["kind"] == "curve" else row["budget_bytes"]
                return Worth(row["kind"], key, budget)
        self._seen = version
        return None
