"""The store: one SQLite file with every profile, graph, plan, run and verdict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from fastsa.cache import documents, garbage, health, items, location
from fastsa.cache.active_plans import ActivePlans
from fastsa.cache.background_candidates import BackgroundCandidates
from fastsa.cache.connection import Connection
from fastsa.cache.garbage import Collected
from fastsa.cache.graphs import GraphTable
from fastsa.cache.health import Facts, Flaw
from fastsa.cache.items import Item, Kind, Removal, Row
from fastsa.cache.margins import MarginTable
from fastsa.cache.plans import PlanTable
from fastsa.cache.profiles import ProfileTable
from fastsa.cache.requests import Requests
from fastsa.cache.runs import RunTable
from fastsa.cache.verdicts import VerdictTable

COUNTING_SECONDS = 0.05  # at the end; until then counts wait for a moment when nobody writes


class Store(ProfileTable, GraphTable, PlanTable, RunTable, VerdictTable, MarginTable):
    """Profiles, graphs, plans, runs, verdicts. Every method may raise StoreUnusable.

    Ids are hex and may be given with `sha256:`. Each `add_` is one transaction and returns the
    id; adding again what is there already changes nothing but mends it. Lookups treat a damaged
    row as a miss, count it, and move the row to the table `quarantine`.
    """

    @classmethod
    def open(cls, path: Path | None = None, *, mends: bool = True) -> Store:
        """Open the store at `path`, by default `$FASTSA_STORE` or the user's data directory.

        A damaged file is replaced by a fresh one if `mends`, else it is a StoreUnusable.
        """
        place = location.default_path() if path is None else location.absolute(path)
        return cls(Connection(place, mends=mends))

    def close(self) -> None:
        """Close the file."""
        self._write_counts(COUNTING_SECONDS)
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Everything

    def list_items(self, kind: Kind | None = None) -> list[Row]:
        """One summary per item, by kind, latest first."""
        return self._connection.read(lambda c: items.listed(c, kind))

    def resolve(self, prefix: str) -> Item:
        """The item whose id begins with `prefix` (4 characters or more). Raises BadInput."""
        return self._connection.read(lambda c: items.resolve(c, prefix))

    def removal(self, item: Item) -> Removal:
        """What `remove` would remove."""
        return self._connection.read(lambda c: items.removal(c, item))

    def remove(self, item: Item) -> Removal:
        """Remove an item and what hangs on it: a profile's graphs, their plans, the plans' runs
        and verdicts. What is left of a curve is single plans.
        """
        doomed = self._connection.transaction(lambda c: items.remove(c, item))
        self._connection.give_back()
        return doomed

    def counters(self) -> dict[str, int]:
        """How often lookups hit, and missed by reason: `plan.hit`, `plan.miss.budget`, ..."""
        rows = self._connection.rows("SELECT event, count FROM counters ORDER BY event")
        return dict(map(tuple, rows))

    # Upkeep

    @property
    def uses(self) -> ActivePlans:
        """Which plans living processes train with."""
        return ActivePlans(self._connection)

    @property
    def requests(self) -> Requests:
        """Which plans are to be made, and by whom."""
        return Requests(self._connection)

    @property
    def agenda(self) -> BackgroundCandidates:
        """What is worth planning, though nobody asks. One that has looked remembers it."""
        return BackgroundCandidates(self._connection)

    def collect(
        self, *, before: str | None, max_bytes: int | None, dry_run: bool = False
    ) -> Collected:
        """Remove what was last used before a time (ISO 8601, UTC), then the least recently used
        until the file has at most `max_bytes` of content. What is in use stays.

        With `dry_run` nothing is removed: it is what would be.
        """
        return garbage.collect(self._connection, before, max_bytes, dry_run=dry_run)

    def check(self) -> Iterator[Flaw]:
        """Every flaw of the file and its rows. Changes nothing."""
        flaws = self._connection.read(health.of_file)
        yield from flaws
        for kind in documents.TYPES:
            for (number,) in self._connection.rows(f"SELECT number FROM {kind}s ORDER BY number"):
                for row in self._connection.rows(f"SELECT * FROM {kind}s WHERE number = ?", number):
                    reason = documents.flaw(kind, row)
                    if reason:
                        yield Flaw(reason, kind, row["hash" if kind == "graph" else "id"], number)

    def set_aside(self, flaw: Flaw) -> None:
        """Move a damaged row to the table `quarantine`."""
        if flaw.kind is not None:
            for row in self._connection.rows(
                f"SELECT * FROM {flaw.kind}s WHERE number = ?", flaw.number
            ):
                self._quarantine(flaw.kind, row, flaw.reason)

    def facts(self) -> Facts:
        """The file's size, schema and rows."""
        return self._connection.read(lambda c: health.facts(c, self.path))

    def vacuum(self) -> None:
        """Write the file anew, as small as it can be. Needs as much room again while it runs."""
        self._connection.alone("VACUUM")
        self._connection.shorten_log()

    def copy_to(self, path: Path) -> None:
        """Write a copy of one moment to a new file. Raises BadInput if there is one already."""
        self._connection.copy_to(path)
