"""Plans: by what they were made for."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fastsa.cache import integrity, records, rows
from fastsa.cache.keys import PlanKey, bare
from fastsa.cache.table import StoreTable
from fastsa.errors import BadInput
from fastsa.planner.graph import INT64_MAX
from fastsa.planner.plan import Plan


class StoredPlan(msgspec.Struct, frozen=True):
    """A plan as the store has it: with its id, what it is keyed by, and when it was added.

    `curve` is the id of the curve that it is one of.
    """

    id: str
    plan: Plan
    key: PlanKey
    created: str
    curve: str | None = None


class PlanTable(StoreTable):
    """by what they were made for."""

    def add_plan(self, plan: Plan, key: PlanKey) -> str:
        """Store a plan for `key`. Raises BadInput if it is a plan of another graph."""
        return self.add_plans([plan], key)[0]

    def add_plans(
        self, plans: Sequence[Plan], key: PlanKey, curve_id: str | None = None
    ) -> tuple[str, ...]:
        """Store plans for `key`, all or none of them, as those of a curve if `curve_id` is given.

        Raises like `add_plan`.
        """
        rows = [_plan_row(plan, key, curve_id) for plan in plans]

        def work(connection: sqlite3.Connection) -> None:
            for row in rows:
                _put_plan(connection, row)

        self._write(work)
        return tuple(str(row["id"]) for row in rows)

    def plan(self, plan_id: str) -> Plan:
        """A stored plan. Raises BadInput if there is none; a damaged one is StoreUnusable."""
        return self.stored_plan(plan_id).plan

    def stored_plan(self, plan_id: str) -> StoredPlan:
        """A stored plan with its key. Raises like `plan`."""
        return _stored_plan(*self._one("plan", Plan, plan_id))

    def find_plan(
        self,
        key: PlanKey,
        step_budget_bytes: int,
        usable: Callable[[Plan], bool] | None = None,
        *,
        counts: bool = True,
    ) -> StoredPlan | None:
        """The fastest plan for `key` whose peak fits `step_budget_bytes`; of equals, the lower.

        Bytes are the step's own, like a plan's. A plan that is not `usable` is passed over.
        `counts`: whether it counts as a lookup.
        """
        digest = key.digest()
        where = """key = ? AND peak_bytes <= ? AND status IN ('optimal', 'feasible')
                   ORDER BY seconds, peak_bytes, number DESC"""
        damage: list[str] = []
        parameters = [digest, min(step_budget_bytes, INT64_MAX)]
        for row, plan in self._intact("plan", Plan, where, parameters, damage):
            if usable is None or usable(plan):
                if counts:
                    self.count("plan.hit")
                return _stored_plan(row, plan)
        if counts:
            self.count(f"plan.miss.{'damaged' if damage else self._why_missed(digest)}")
        return None

    def has_curve(self, key: PlanKey, step_budget_bytes: int, base_seconds: float) -> bool:
        """Whether a curve for `key` has a plan with a peak of at most `step_budget_bytes`.

        Of a graph that was measured again since, only the curve of the same `base_seconds` counts.
        """
        sql = """SELECT 1 FROM plans WHERE key = ? AND peak_bytes <= ? AND base_seconds = ?
                 AND curve IS NOT NULL AND status IN ('optimal', 'feasible') LIMIT 1"""
        local = min(step_budget_bytes, INT64_MAX)
        return bool(self._connection.rows(sql, key.digest(), local, base_seconds))

    def latest_curve(self, graph_hash: str, device: str) -> tuple[Plan, ...]:
        """The plans of the latest curve of a graph on a device, the highest budget first."""
        where = """curve = (SELECT curve FROM plans WHERE graph = ? AND device = ?
                   AND curve IS NOT NULL ORDER BY number DESC LIMIT 1)
                   ORDER BY step_budget_bytes DESC"""
        intact = self._intact("plan", Plan, where, [bare(graph_hash), device], [])
        return tuple(plan for _, plan in intact)

    def _why_missed(self, digest: str) -> str:
        others = self._connection.rows("SELECT 1 FROM plans WHERE key = ? LIMIT 1", digest)
        return "budget" if others else "absent"


def _stored_plan(row: sqlite3.Row, plan: Plan) -> StoredPlan:
    key = PlanKey(plan.graph, row["device"], row["torch"], row["cuda"], row["planner"])
    return StoredPlan(row["id"], plan, key, row["created"], row["curve"])


def _plan_row(plan: Plan, key: PlanKey, curve_id: str | None) -> dict[str, Any]:
    if bare(plan.graph) != bare(key.graph):
        raise BadInput(
            "this plan is of another graph than its key", hint="key a plan by its own graph"
        )
    data = integrity.encode(plan)
    plan_id = hashlib.sha256(key.digest().encode() + data).hexdigest()
    return records.plan_record(plan, data, plan_id, key, curve_id)


def _put_plan(connection: sqlite3.Connection, row: dict[str, Any]) -> None:
    """Insert a plan, or mend it where it is: it stays in its curve."""
    there = connection.execute("SELECT curve FROM plans WHERE id = ?", [row["id"]]).fetchone()
    connection.execute("DELETE FROM plans WHERE id = ?", [row["id"]])
    rows.insert(connection, "plans", row | {"curve": row["curve"] or (there and there["curve"])})
