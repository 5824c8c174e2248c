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
    """The plans of a store, by what they were made for."""

    def add_plan(self, plan: Plan, key: PlanKey) -> str:
        """Store a plan.

        Args:
            plan: The plan to store. Whether it is legal is not checked.
            key: What it was made for.

        Returns:
            The plan's id, the hash of key and document.

        Raises:
            BadInput: It is of another graph than the key, or cannot be stored.
        """
        return self.add_plans([plan], key)[0]

    def add_plans(
        self, plans: Sequence[Plan], key: PlanKey, curve_id: str | None = None
    ) -> tuple[str, ...]:
        """Store several plans for one key, all or none of them.

        Args:
            plans: The plans to store. Whether they are legal is not checked.
            key: What they were made for.
            curve_id: Id of the curve they are the points of; None: of none, but a plan that is
                stored in a curve stays in it.

        Returns:
            The plans' ids, in the same order.

        Raises:
            BadInput: One is of another graph than the key, or cannot be stored.
        """
        rows = [_plan_row(plan, key, curve_id) for plan in plans]

        def work(connection: sqlite3.Connection) -> None:
            for row in rows:
                _put_plan(connection, row)

        self._write(work)
        return tuple(str(row["id"]) for row in rows)

    def plan(self, plan_id: str) -> Plan:
        """Read a stored plan.

        Args:
            plan_id: The plan's id.

        Returns:
            The plan.

        Raises:
            BadInput: There is none.
            StoreUnusable: It is damaged.
        """
        return self.stored_plan(plan_id).plan

    def stored_plan(self, plan_id: str) -> StoredPlan:
        """Read a stored plan with its key.

        Args:
            plan_id: The plan's id.

        Returns:
            The plan with its id, key, time and curve.

        Raises:
            BadInput: There is none.
            StoreUnusable: It is damaged.
        """
        return _stored_plan(*self._one("plan", Plan, plan_id))

    def find_plan(
        self,
        key: PlanKey,
        step_budget_bytes: int,
        usable: Callable[[Plan], bool] | None = None,
        *,
        counts: bool = True,
    ) -> StoredPlan | None:
        """Find the fastest plan for a key whose peak fits; of equals, the one of the lower peak.

        Args:
            key: What the plan has to be for.
            step_budget_bytes: For the step's own values; what is resident comes on top.
            usable: A plan for which it returns False is passed over; None passes over none.
            counts: Whether it counts as a lookup: `plan.hit`, or `plan.miss` with the reason.

        Returns:
            The plan, whatever budget it was made for, or None.
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
        """Tell whether a curve for a key has a plan that fits.

        Args:
            key: What the curve has to be for.
            step_budget_bytes: For the step's own values; what is resident comes on top.
            base_seconds: The unplanned time of the graph: a curve from before the graph was
                measured again has another one and does not count.

        Returns:
            Whether such a curve has a plan with a peak of at most `step_budget_bytes`.
        """
        sql = """SELECT 1 FROM plans WHERE key = ? AND peak_bytes <= ? AND base_seconds = ?
                 AND curve IS NOT NULL AND status IN ('optimal', 'feasible') LIMIT 1"""
        local = min(step_budget_bytes, INT64_MAX)
        return bool(self._connection.rows(sql, key.digest(), local, base_seconds))

    def latest_curve(self, graph_hash: str, device: str) -> tuple[Plan, ...]:
        """Read the latest curve of a graph on a device.

        Args:
            graph_hash: The graph's hash.
            device: The device's name.

        Returns:
            Its plans, the highest budget first, without damaged ones; empty if there is no curve.
        """
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
