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
    """The store: one SQLite file with profiles, graphs, plans, runs, verdicts and margins.

    Make one with `Store.open`, in a `with` statement. Threads may share it; after a fork the child
    gets a connection of its own.

    Every method may raise StoreUnusable when the file cannot be opened, read or written; the
    methods name it only where it has another cause. Ids and hashes are sha256 in hexadecimal and
    may be given with `sha256:`. Each `add_` method is one transaction and returns the id; adding
    an item again mends it, keeps its id, and makes it the latest of its kind. Lookups pass over a
    damaged row, count it, and move it to the table `quarantine`; asked for by its id it is a
    StoreUnusable.

    Args:
        connection: The file's connection, as `open` makes it.
    """

    @classmethod
    def open(cls, path: Path | None = None, *, mends: bool = True) -> Store:
        """Open a store; make the folder and the file if they do not exist.

        Args:
            path: The file; None is `$FASTSA_STORE`, else the setting `store`, else
                `fastsa/store.db` in the user's data directory.
            mends: Whether a damaged file is renamed and a fresh one begun, with one FastsaWarning.
                A file without SQLite's header and without a store's suffix (`.db`, `.sqlite`,
                `.sqlite3`) is left alone: StoreUnusable.

        Returns:
            The open store.

        Raises:
            StoreUnusable: There is no place for the file, it is another user's or program's,
                anybody may write it, a newer fastsa wrote it, or it is damaged and not mended.
        """
        place = location.default_path() if path is None else location.absolute(path)
        return cls(Connection(place, mends=mends))

    def close(self) -> None:
        """Write the counts that are left and close the file."""
        self._write_counts(COUNTING_SECONDS)
        self._connection.close()

    def __enter__(self) -> Store:
        """Give the store to a `with` statement."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the store."""
        self.close()

    # Everything

    def list_items(self, kind: Kind | None = None) -> list[Row]:
        """List what the store holds.

        Args:
            kind: Which items; None is all kinds.

        Returns:
            One summary per item, by kind, the latest first in each.
        """
        return self._connection.read(lambda c: items.listed(c, kind))

    def resolve(self, prefix: str) -> Item:
        """Find the one item whose id begins with a prefix.

        Args:
            prefix: 4 to 64 hexadecimal digits.

        Returns:
            Its kind and full id.

        Raises:
            BadInput: The prefix is no beginning of an id, or no item or several begin with it.
        """
        return self._connection.read(lambda c: items.resolve(c, prefix))

    def removal(self, item: Item) -> Removal:
        """Tell what `remove` would remove. Changes nothing.

        Args:
            item: The item to remove.

        Returns:
            The ids; a graph's margin goes too and is not listed.
        """
        return self._connection.read(lambda c: items.removal(c, item))

    def remove(self, item: Item) -> Removal:
        """Remove an item and what hangs on it, in one transaction.

        A profile takes its graphs along, a graph its plans and its margin, a plan its runs and
        verdicts. A graph that was stored by something else too stays. What is left of a curve is
        single plans.

        Args:
            item: The item to remove.

        Returns:
            The ids that are gone; `item` is among them, whether or not it was there.
        """
        doomed = self._connection.transaction(lambda c: items.remove(c, item))
        self._connection.give_back()
        return doomed

    def counters(self) -> dict[str, int]:
        """Return how often lookups hit, and missed by reason: `plan.hit`, `plan.miss.budget`, ...

        Counts are of all processes. Those that wait for a moment when nobody writes are not in yet.
        """
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
        """What is worth planning, though nobody asks. Keep the object: it remembers its looks."""
        return BackgroundCandidates(self._connection)

    def collect(
        self, *, before: str | None, max_bytes: int | None, dry_run: bool = False
    ) -> Collected:
        """Remove what was not used for long, then the least recently used until the store is small.

        A plan is used by its runs and checks, a graph by its plans, a profile by its graphs. Plans
        that living processes train with stay, with their graphs and profiles, and so do graphs that
        somebody is planning.

        Args:
            before: Remove what was last used before this time: ISO 8601 in UTC, in seconds, as in
                `2026-11-25T12:00:00+00:00` (it is compared as text). None: nothing for its age.
            max_bytes: Remove until the file's content has at most so many bytes. None: nothing for
                its size.
            dry_run: Remove nothing; try it on a copy in the temporary folder.

        Returns:
            The ids that are gone, or would be, and the bytes of content before and after.
        """
        return garbage.collect(self._connection, before, max_bytes, dry_run=dry_run)

    def check(self) -> Iterator[Flaw]:
        """Check the file and every row. Changes nothing if the store was opened with `mends=False`.

        Yields:
            The flaws: of the file, the first 100 that SQLite finds, then of the rows.
        """
        flaws = self._connection.read(health.of_file)
        yield from flaws
        for kind in documents.TYPES:
            for (number,) in self._connection.rows(f"SELECT number FROM {kind}s ORDER BY number"):
                for row in self._connection.rows(f"SELECT * FROM {kind}s WHERE number = ?", number):
                    reason = documents.flaw(kind, row)
                    if reason:
                        yield Flaw(reason, kind, row["hash" if kind == "graph" else "id"], number)

    def set_aside(self, flaw: Flaw) -> None:
        """Move a damaged row to the table `quarantine`; a flaw of the file itself is left as it is.

        The row stays where it is if another process keeps the store locked for a second.

        Args:
            flaw: A flaw that `check` has found.
        """
        if flaw.kind is not None:
            for row in self._connection.rows(
                f"SELECT * FROM {flaw.kind}s WHERE number = ?", flaw.number
            ):
                self._quarantine(flaw.kind, row, flaw.reason)

    def facts(self) -> Facts:
        """Return the path, the size in bytes, the schema and the number of rows of each table."""
        return self._connection.read(lambda c: health.facts(c, self.path))

    def vacuum(self) -> None:
        """Write the file anew, as small as it can be. Needs as much room again while it runs."""
        self._connection.alone("VACUUM")
        self._connection.shorten_log()

    def copy_to(self, path: Path) -> None:
        """Write a copy of one moment to a new file, while other processes may write to the store.

        Args:
            path: The new file.

        Raises:
            BadInput: There is a file already.
            OSError: The file cannot be made.
        """
        self._connection.copy_to(path)
