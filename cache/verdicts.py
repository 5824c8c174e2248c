"""Verdicts: what checks of plans have found."""

from __future__ import annotations

from fastsa.cache import integrity, records
from fastsa.cache.keys import bare
from fastsa.cache.table import StoreTable
from fastsa.records.verdict import Verdict


class VerdictTable(StoreTable):
    """what checks of plans have found."""

    def add_verdict(self, verdict: Verdict) -> str:
        """Store what a check of a plan found."""
        record = records.verdict_record(verdict, integrity.encode(verdict))
        self._replace("verdicts", record)
        return str(record["id"])

    def verdict(self, verdict_id: str) -> Verdict:
        """A stored verdict. Raises BadInput if there is none; a damaged one is StoreUnusable."""
        return self._one("verdict", Verdict, verdict_id)[1]

    def verdict_on(self, plan_id: str) -> Verdict | None:
        """The latest verdict on a plan; damaged ones are passed over."""
        where = "plan = ? ORDER BY number DESC"
        intact = self._intact("verdict", Verdict, where, [bare(plan_id)], [])
        return next((verdict for _, verdict in intact), None)
