"""Runs: what happened when a plan was used."""

from __future__ import annotations

from fastsa.cache import integrity, records
from fastsa.cache.keys import bare
from fastsa.cache.table import StoreTable
from fastsa.records.run import Run


class RunTable(StoreTable):
    """what happened when a plan was used."""

    def add_run(self, run: Run) -> str:
        """Store what happened when a plan was used."""
        record = records.run_record(run, integrity.encode(run))
        self._replace("runs", record)
        return str(record["id"])

    def run(self, run_id: str) -> Run:
        """A stored run. Raises BadInput if there is none; a damaged one is StoreUnusable."""
        return self._one("run", Run, run_id)[1]

    def runs_of(self, plan_id: str) -> list[Run]:
        """The runs of a plan, latest first; damaged ones are passed over."""
        intact = self._intact("run", Run, "plan = ? ORDER BY number DESC", [bare(plan_id)], [])
        return [run for _, run in intact]
