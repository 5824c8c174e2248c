"""Verdicts: what checks of plans have found."""

from __future__ import annotations

from fastsa.cache import integrity, records
from fastsa.cache.keys import bare
from fastsa.cache.table import StoreTable
from fastsa.records.verdict import Verdict


class VerdictTable(StoreTable):
    """The verdicts of a store: what checks of plans have found."""

    def add_verdict(self, verdict: Verdict) -> str:
        """Store what a check of a plan found.

        Args:
            verdict: The verdict to store.

        Returns:
            The verdict's id.

        Raises:
            BadInput: It cannot be stored: a number is negative or not finite.
        """
        record = records.verdict_record(verdict, integrity.encode(verdict))
        self._replace("verdicts", record)
        return str(record["id"])

    def verdict(self, verdict_id: str) -> Verdict:
        """Read a stored verdict.

        Args:
            verdict_id: The verdict's id.

        Returns:
            The verdict.

        Raises:
            BadInput: There is none.
            StoreUnusable: It is damaged.
        """
        return self._one("verdict", Verdict, verdict_id)[1]

    def verdict_on(self, plan_id: str) -> Verdict | None:
        """Read the latest verdict on a plan; damaged ones are passed over.

        Args:
            plan_id: The plan's id.

        Returns:
            The verdict, or None if there is none.
        """
        where = "plan = ? ORDER BY number DESC"
        intact = self._intact("verdict", Verdict, where, [bare(plan_id)], [])
        return next((verdict for _, verdict in intact), None)
