"""Runs: what happened when a plan was used."""

from __future__ import annotations

from fastsa.cache import integrity, records
from fastsa.cache.keys import bare
from fastsa.cache.table import StoreTable
from fastsa.records.run import Run


class RunTable(StoreTable):
    """The runs of a store: what happened when plans were used."""

    def add_run(self, run: Run) -> str:
        """Store what happened when a plan was used.

        Args:
            run: The run to store.

        Returns:
            The run's id.

        Raises:
            BadInput: It cannot be stored: a number is negative or not finite.
        """
        record = records.run_record(run, integrity.encode(run))
        self._replace("runs", record)
        return str(record["id"])

    def run(self, run_id: str) -> Run:
        """Read a stored run.

        Args:
            run_id: The run's id.

        Returns:
            The run.

        Raises:
            BadInput: There is none.
            StoreUnusable: It is damaged.
        """
        return self._one("run", Run, run_id)[1]

    def runs_of(self, plan_id: str) -> list[Run]:
        """Read the runs of a plan; damaged ones are passed over.

        Args:
            plan_id: The plan's id.

        Returns:
            The runs, the latest first.
        """
        intact = self._intact("run", Run, "plan = ? ORDER BY number DESC", [bare(plan_id)], [])
        return [run for _, run in intact]
