"""Requests: plans that somebody is to make, or is making. Many processes share one queue.

A request is one row. Whoever makes it holds a lease: if the process dies or the lease ends, the
next one takes the row over. After two attempts it has failed, with a reason.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from typing import Literal

import msgspec

from fastsa.cache import owner, records
from fastsa.cache.connection import Connection
from fastsa.cache.keys import PlanKey, bare
from fastsa.planner.graph import INT64_MAX

RequestKind = Literal["plan", "improve", "curve"]
State = Literal["waiting", "running", "planned", "failed"]

MOST_REQUESTS = 1000  # so many are remembered: `auto` makes one for every budget
ATTEMPTS = 2  # a plan that kills its planner twice would kill it again

_KINDS = "CASE kind WHEN 'plan' THEN 0 WHEN 'curve' THEN 1 ELSE 2 END"


class Request(msgspec.Struct, frozen=True):
    """A row of the table `requests`. `step_budget_bytes` are the step's own, like a plan's.

    `lease`: seconds since the epoch until which `owner` has to be done.
    """

    id: str
    kind: RequestKind
    state: State
    key: PlanKey
    step_budget_bytes: int
    attempts: int
    owner: str | None
    lease: float | None
    plan: str | None
    reason: str | None
    created: str
    changed: str


class Requests:
    """The table `requests`. Every method may raise StoreUnusable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(
        self, kind: RequestKind, key: PlanKey, step_budget_bytes: int, *, anew: bool = False
    ) -> Request:
        """Ask for a plan. Asking again for the same is asking once; a failed one is tried anew.

        With `anew`, one that was fulfilled is, too.
        """
        row = _new_row(kind, key, step_budget_bytes)

        def work(connection: sqlite3.Connection) -> Request:
            _insert(connection, row)
            connection.execute(
                """UPDATE requests SET state = 'waiting', attempts = 0, owner = NULL, lease = NULL,
                   plan = NULL, reason = NULL, changed = ?
                   WHERE id = ? AND (state = 'failed' OR state = 'planned' AND ?)""",
                [row["changed"], row["id"], anew],
            )
            return _request(connection, row["id"])

        return self._connection.transaction(work)

    def begin(
        self, kind: RequestKind, key: PlanKey, step_budget_bytes: int, seconds: float
    ) -> Request:
        """Take a plan on, for so many seconds, unless another living process is at it.

        The request's owner tells whose it is now.
        """
        row = _new_row(kind, key, step_budget_bytes)

        def work(connection: sqlite3.Connection) -> Request:
            _insert(connection, row)
            there = _request(connection, row["id"])
            if there.state != "running" or is_over(there):
                _take(connection, there, seconds, attempts=1)
            return _request(connection, row["id"])

        return self._connection.transaction(work)

    def claim(self, seconds: float, kinds: tuple[RequestKind, ...] = ("plan",)) -> Request | None:
        """Take the next request for so many seconds; None if there is nothing to do.

        Those that have been tried often enough are marked as failed on the way.
        """

        def work(connection: sqlite3.Connection) -> Request | None:
            marks = ", ".join("?" * len(kinds))
            rows = connection.execute(
                f"""SELECT * FROM requests WHERE state IN ('waiting', 'running')
                    AND kind IN ({marks}) ORDER BY {_KINDS}, number""",
                kinds,
            ).fetchall()
            for each in map(_read, rows):
                if each.state == "running" and not is_over(each):
                    continue
                if each.attempts >= ATTEMPTS:
                    _give_up(connection, each, "whoever planned it died, twice")
                    continue
                _take(connection, each, seconds, attempts=each.attempts + 1)
                return _request(connection, each.id)
            return None

        return self._connection.transaction(work)

    def renew(self, request_id: str, seconds: float) -> bool:
        """Hold a request for so many seconds more; False if it is another's by now."""
        changed = self._connection.transaction(
            lambda c: (
                c.execute(
                    """UPDATE requests SET lease = ?
                       WHERE id = ? AND owner = ? AND state = 'running'""",
                    [time.time() + seconds, request_id, owner.current()],
                ).rowcount
            )
        )
        return bool(changed)

    def finish(self, request_id: str, plan_id: str | None) -> None:
        """The plan is made and stored; None if no better one than there was is found.

        Like `fail`, it changes nothing if another process has taken the request over.
        """
        self._connection.transaction(lambda c: _end(c, request_id, "planned", plan_id, None))

    def fail(self, request_id: str, reason: str) -> None:
        """It cannot be made."""
        self._connection.transaction(lambda c: _end(c, request_id, "failed", None, reason))

    def release(self, request_id: str) -> None:
        """Give a request back that this process has not ended, as if never taken."""
        self._connection.transaction(
            lambda c: c.execute(
                """UPDATE requests SET state = 'waiting', owner = NULL, lease = NULL,
                   attempts = attempts - 1, changed = ?
                   WHERE id = ? AND owner = ? AND state = 'running'""",
                [records.now(), request_id, owner.current()],
            )
        )

    def get(self, request_id: str) -> Request | None:
        """A request as it is now."""
        rows = self._connection.rows("SELECT * FROM requests WHERE id = ?", request_id)
        return _read(rows[0]) if rows else None

    def latest(self, most: int = 20) -> list[Request]:
        """The latest requests, the youngest first."""
        rows = self._connection.rows("SELECT * FROM requests ORDER BY number DESC LIMIT ?", most)
        return [_read(row) for row in rows]

    def is_called_for(self) -> bool:
        """Whether there is something to claim."""
        rows = self._connection.rows("SELECT * FROM requests WHERE state IN ('waiting', 'running')")
        return any(row["state"] == "waiting" or is_over(_read(row)) for row in rows)

    def counts(self) -> dict[str, int]:
        """How many there are, by kind and state: `plan.waiting`, ..."""
        rows = self._connection.rows(
            "SELECT kind || '.' || state, count(*) FROM requests GROUP BY kind, state"
        )
        return dict(map(tuple, rows))


def _new_row(kind: RequestKind, key: PlanKey, step_budget_bytes: int) -> dict[str, object]:
    budget = max(0, min(step_budget_bytes, INT64_MAX))
    digest = key.digest()
    name = f"{kind} {digest} {budget}"
    now = records.now()
    return {
        "id": hashlib.sha256(name.encode()).hexdigest(),
        "kind": kind,
        "state": "waiting",
        "key": digest,
        "graph": bare(key.graph),
        "device": key.device,
        "torch": key.torch,
        "cuda": key.cuda,
        "planner": key.planner,
        "step_budget_bytes": budget,
        "attempts": 0,
        "created": now,
        "changed": now,
    }


def _insert(connection: sqlite3.Connection, row: dict[str, object]) -> None:
    """Insert a request unless it is there, and forget those that ended long ago."""
    columns = ", ".join(row)
    marks = ", ".join("?" * len(row))
    connection.execute(
        f"INSERT INTO requests ({columns}) VALUES ({marks}) ON CONFLICT (id) DO NOTHING",
        list(row.values()),
    )
    connection.execute(
        """DELETE FROM requests WHERE state IN ('planned', 'failed')
           AND number <= (SELECT max(number) FROM requests) - ?""",
        [MOST_REQUESTS],
    )


def is_over(request: Request) -> bool:
    """Whether nobody is at a running request any more."""
    if request.owner is None or owner.is_dead(request.owner):
        return True
    return request.lease is None or request.lease < time.time()


def _take(
    connection: sqlite3.Connection, request: Request, seconds: float, *, attempts: int
) -> None:
    connection.execute(
        """UPDATE requests SET state = 'running', owner = ?, lease = ?, attempts = ?, changed = ?,
           plan = NULL, reason = NULL WHERE id = ?""",
        [owner.current(), time.time() + seconds, attempts, records.now(), request.id],
    )


def _end(
    connection: sqlite3.Connection,
    request_id: str,
    state: State,
    plan_id: str | None,
    reason: str | None,
) -> None:
    connection.execute(
        """UPDATE requests SET state = ?, plan = ?, reason = ?, owner = NULL, lease = NULL,
           changed = ? WHERE id = ? AND coalesce(owner, ?) = ?""",
        [state, plan_id, reason, records.now(), request_id, owner.current(), owner.current()],
    )


def _give_up(connection: sqlite3.Connection, request: Request, reason: str) -> None:
    connection.execute(
        """UPDATE requests SET state = 'failed', reason = ?, owner = NULL, lease = NULL,
           changed = ? WHERE id = ?""",
        [reason, records.now(), request.id],
    )


def _request(connection: sqlite3.Connection, request_id: object) -> Request:
    found = connection.execute("SELECT * FROM requests WHERE id = ?", [request_id]).fetchone()
    return _read(found)


def _read(row: sqlite3.Row) -> Request:
    key = PlanKey(row["graph"], row["device"], row["torch"], row["cuda"], row["planner"])
    names = set(Request.__struct_fields__) - {"key"}
    return msgspec.convert({**{name: row[name] for name in names}, "key": key}, Request)
