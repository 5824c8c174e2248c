"""The store: one SQLite file with every profile, graph, plan, run and verdict."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from fastsa.cache import documents, garbage, health, integrity, items, location, records, rows
from fastsa.cache.agenda import Agenda
from fastsa.cache.connection import Connection
from fastsa.cache.garbage import Collected
from fastsa.cache.health import Document, Facts, Flaw
from fastsa.cache.items import Item, Kind, Removal, Row
from fastsa.cache.keys import PlanKey, bare, prefixed
from fastsa.cache.requests import Requests
from fastsa.cache.uses import Uses
from fastsa.errors import BadInput, StoreUnusable
from fastsa.planner import graph as graphs
from fastsa.planner.graph import INT64_MAX, Graph
from fastsa.planner.plan import Plan
from fastsa.planner.step import region_names
from fastsa.records.margin import Margin
from fastsa.records.profile import Profile
from fastsa.records.run import Run
from fastsa.records.verdict import Verdict

COUNTING_SECONDS = 0.05  # at the end; until then counts wait for a moment when nobody writes
REPAIR_SECONDS = 1.0
MOST_QUARANTINED = 100  # rows kept for people to look at

T = TypeVar("T")


class StoredPlan(msgspec.Struct, frozen=True):
    """A plan as the store has it: with its id, what it is keyed by, and when it was added.

    `curve` is the id of the curve that it is one of.
    """

    id: str
    plan: Plan
    key: PlanKey
    created: str
    curve: str | None = None


class ProfileSummary(msgspec.Struct, frozen=True):
    """What a job asks a profile: measured on the whole process, bytes and seconds of one step.

    `step_seconds` is None where no step was timed.
    """

    id: str
    created: str
    model: str
    shape: str
    device: str
    resident_bytes: int
    peak_bytes: int
    step_seconds: float | None


class Store:
    """Profiles, graphs, plans, runs, verdicts. Every method may raise StoreUnusable.

    Ids are hex and may be given with `sha256:`. Each `add_` is one transaction and returns the
    id; adding again what is there already changes nothing but mends it. Lookups treat a damaged
    row as a miss, count it, and move the row to the table `quarantine`.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._counts = Counter[str]()  # not written yet

    @classmethod
    def open(cls, path: Path | None = None, *, mends: bool = True) -> Store:
        """Open the store at `path`, by default `$FASTSA_STORE` or the user's data directory.

        A damaged file is replaced by a fresh one if `mends`, else it is a StoreUnusable.
        """
        place = location.default_path() if path is None else location.absolute(path)
        return cls(Connection(place, mends=mends))

    @property
    def path(self) -> Path:
        """The file."""
        return self._connection.path

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

    # Profiles

    def add_profile(self, profile: Profile) -> str:
        """Store a profile, its allocations, and the graph of its step or of each region."""
        data = integrity.encode(profile)
        in_step = () if profile.step is None else region_names(profile.step)
        regions = [
            (region.captured_hash, region.graph, _encode_graph(region.graph))
            for region in profile.regions
            if region.captured_hash not in in_step
        ]
        step = None if profile.step is None else _encode_graph(profile.step)
        record = records.profile_record(profile, data)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM profiles WHERE id = ?", [record["id"]])
            number = rows.insert(connection, "profiles", record)
            rows.insert_all(connection, "sites", records.site_records(profile, number))
            # There can be a million: sqlite-utils would take a minute.
            connection.executemany(
                "INSERT INTO allocations VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                records.allocation_rows(profile, number),
            )
            for position, (captured_hash, graph, document) in enumerate(regions):
                row = records.graph_record(graph, document, captured_hash)
                row |= {"profile": number, "region": position, "device": profile.device}
                rows.insert_graph(connection, graph, row)
            if profile.step is not None and step is not None:
                row = records.graph_record(profile.step, step, None)
                row |= {"profile": number, "device": profile.device}
                rows.insert_graph(connection, profile.step, row)

        self._write(work)
        return str(record["id"])

    def profile(self, profile_id: str) -> Profile:
        """A stored profile. Raises BadInput if there is none; a damaged one is StoreUnusable."""
        return self._one("profile", Profile, profile_id)[1]

    def measured_profile(self, captured_hash: str, device: str) -> ProfileSummary | None:
        """The latest profile on `device` of a model with this captured graph."""
        sql = """
            SELECT id, profiles.created, model, shape, profiles.device, profiles.resident_bytes,
                   peak_bytes, step_seconds
            FROM graph_regions JOIN graphs ON graphs.number = graph_regions.graph
            JOIN profiles ON profiles.number = graphs.profile
            WHERE graph_regions.captured_hash = ? AND graphs.device = ?
            ORDER BY profiles.number DESC LIMIT 1"""
        rows = self._connection.rows(sql, bare(captured_hash), device)
        return msgspec.convert(dict(rows[0]), ProfileSummary) if rows else None

    def profile_of(self, graph_hash: str) -> str | None:
        """The id of the latest profile with this graph."""
        sql = """SELECT id FROM graphs JOIN profiles ON profiles.number = graphs.profile
                 WHERE hash = ? ORDER BY profiles.number DESC LIMIT 1"""
        rows = self._connection.rows(sql, bare(graph_hash))
        return str(rows[0]["id"]) if rows else None

    # Graphs

    def add_graph(self, graph: Graph, captured_hash: str | None = None) -> str:
        """Store a graph of no profile and return its hash (`sha256:...`).

        With `captured_hash`, a job that captures that graph finds this one as its measured graph.
        """
        record = records.graph_record(graph, _encode_graph(graph), captured_hash)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                """DELETE FROM graphs WHERE profile IS NULL
                   AND hash = ? AND captured_hash IS ? AND device IS ?""",
                [record["hash"], record["captured_hash"], record["device"]],
            )
            rows.insert_graph(connection, graph, record)

        self._write(work)
        return prefixed(record["hash"])

    def graph(self, graph_hash: str) -> Graph | None:
        """The latest stored graph with this hash; a damaged one is passed over."""
        where = "hash = ? ORDER BY number DESC"
        intact = self._intact("graph", Graph, where, [bare(graph_hash)], [])
        return next((graph for _, graph in intact), None)

    def known_graph(self, graph_hash: str) -> Graph:
        """Like `graph`, but raises StoreUnusable when there is no undamaged one."""
        found = self.graph(graph_hash)
        if found is None:
            raise StoreUnusable(
                f"{self.path}: there is no undamaged graph {bare(graph_hash)[:12]}",
                hint="record a profile again",
            )
        return found

    def graph_hashes(self, *, loose: bool = False) -> list[tuple[str, str | None]]:
        """Hash and captured hash of each graph (`loose`: of no profile), in the order they came."""
        which = "profile IS NULL" if loose else "TRUE"
        sql = f"SELECT hash, captured_hash FROM graphs WHERE {which} ORDER BY number"
        return [(row["hash"], row["captured_hash"]) for row in self._connection.rows(sql)]

    def measured_graph(self, captured_hash: str, device: str) -> Graph | None:
        """The latest graph measured on `device` of what capture alone sees as `captured_hash`."""
        where = "captured_hash = ? AND device = ? ORDER BY number DESC"
        damage: list[str] = []
        intact = self._intact("graph", Graph, where, [bare(captured_hash), device], damage)
        for _, graph in intact:
            self.count("graph.hit")
            return graph
        self.count("graph.miss.damaged" if damage else "graph.miss.absent")
        return None

    def step_graph(self, captured_hash: str, device: str, model: str) -> Graph | None:
        """The latest step graph measured on `device` of which this captured graph is a region.

        One of the same model comes before those of others.
        """
        where = """number IN (SELECT graph FROM graph_regions WHERE captured_hash = ?)
                   AND captured_hash IS NULL AND device = ? ORDER BY name = ? DESC, number DESC"""
        intact = self._intact("graph", Graph, where, [bare(captured_hash), device, model], [])
        return next((graph for _, graph in intact), None)

    # Plans

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
        budget_bytes: int,
        usable: Callable[[Plan], bool] | None = None,
        *,
        counts: bool = True,
    ) -> StoredPlan | None:
        """The fastest plan for `key` with a peak of at most `budget_bytes`; of equals, the lower.

        Bytes are the step's own, like a plan's. A plan that is not `usable` is passed over.
        `counts`: whether it counts as a lookup.
        """
        digest = key.digest()
        where = """key = ? AND peak_bytes <= ? AND status IN ('optimal', 'feasible')
                   ORDER BY seconds, peak_bytes, number DESC"""
        damage: list[str] = []
        parameters = [digest, min(budget_bytes, INT64_MAX)]
        for row, plan in self._intact("plan", Plan, where, parameters, damage):
            if usable is None or usable(plan):
                if counts:
                    self.count("plan.hit")
                return _stored_plan(row, plan)
        if counts:
            self.count(f"plan.miss.{'damaged' if damage else self._why_missed(digest)}")
        return None

    def has_curve(self, key: PlanKey, budget_bytes: int, base_seconds: float) -> bool:
        """Whether a curve for `key` has a plan with a peak of at most `budget_bytes`.

        Of a graph that was measured again since, only the curve of the same `base_seconds` counts.
        """
        sql = """SELECT 1 FROM plans WHERE key = ? AND peak_bytes <= ? AND base_seconds = ?
                 AND curve IS NOT NULL AND status IN ('optimal', 'feasible') LIMIT 1"""
        local = min(budget_bytes, INT64_MAX)
        return bool(self._connection.rows(sql, key.digest(), local, base_seconds))

    def latest_curve(self, graph_hash: str, device: str) -> tuple[Plan, ...]:
        """The plans of the latest curve of a graph on a device, the highest budget first."""
        where = """curve = (SELECT curve FROM plans WHERE graph = ? AND device = ?
                   AND curve IS NOT NULL ORDER BY number DESC LIMIT 1)
                   ORDER BY budget_bytes DESC"""
        intact = self._intact("plan", Plan, where, [bare(graph_hash), device], [])
        return tuple(plan for _, plan in intact)

    def _why_missed(self, digest: str) -> str:
        others = self._connection.rows("SELECT 1 FROM plans WHERE key = ? LIMIT 1", digest)
        return "budget" if others else "absent"

    # Runs

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

    # Verdicts

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

    # Margins

    def set_margin(self, margin: Margin) -> None:
        """Keep so many bytes free of a graph's plans on a device; with none, forget it."""
        record = records.margin_record(margin, integrity.encode(margin))

        def work(connection: sqlite3.Connection) -> None:
            where = [record["graph"], record["device"]]
            connection.execute("DELETE FROM margins WHERE graph = ? AND device = ?", where)
            if margin.bytes:
                rows.insert(connection, "margins", record)

        self._write(work)

    def margin(self, graph_hash: str, device: str) -> Margin | None:
        """What is kept free of a graph's plans on a device; a damaged row is none."""
        where = "graph = ? AND device = ?"
        intact = self._intact("margin", Margin, where, [bare(graph_hash), device], [])
        return next((margin for _, margin in intact), None)

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
    def uses(self) -> Uses:
        """Which plans living processes train with."""
        return Uses(self._connection)

    @property
    def requests(self) -> Requests:
        """Which plans are to be made, and by whom."""
        return Requests(self._connection)

    @property
    def agenda(self) -> Agenda:
        """What is worth planning, though nobody asks. One that has looked remembers it."""
        return Agenda(self._connection)

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

    # Rows

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # Imported here: it takes 60 to 200 ms, and a job that finds its plan writes no rows; and
        # before the transaction, while no other process waits for its end.
        import sqlite_utils  # noqa: F401

        return self._connection.transaction(work)

    def _replace(self, table: str, record: dict[str, Any]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(f"DELETE FROM {table} WHERE id = ?", [record["id"]])
            rows.insert(connection, table, record)

        self._write(work)

    def _one(self, kind: Kind, type_: type[T], wanted: str) -> tuple[sqlite3.Row, T]:
        rows = self._connection.rows(f"SELECT * FROM {kind}s WHERE id = ?", bare(wanted))
        if not rows:
            raise BadInput(f"{self.path}: there is no {kind} {wanted}", hint="see 'fastsa list'")
        try:
            return rows[0], documents.read(kind, rows[0], type_)
        except integrity.Damaged as error:
            self._quarantine(kind, rows[0], str(error))
            raise StoreUnusable(
                f"{self.path}: {kind} {wanted[:12]} is damaged and was set aside: {error}",
                hint=f"make the {kind} again",
            ) from error

    def _intact(
        self, kind: Document, type_: type[T], where: str, parameters: list[Any], damage: list[str]
    ) -> Iterator[tuple[sqlite3.Row, T]]:
        """The undamaged rows, one payload read at a time; damaged ones are set aside.

        The reasons are added to `damage`.
        """
        numbers = self._connection.rows(f"SELECT number FROM {kind}s WHERE {where}", *parameters)
        for (number,) in numbers:
            for row in self._connection.rows(f"SELECT * FROM {kind}s WHERE number = ?", number):
                try:
                    document = documents.read(kind, row, type_)
                except integrity.Damaged as error:
                    damage.append(str(error))
                    self._quarantine(kind, row, str(error))
                else:
                    yield row, document

    def _quarantine(self, kind: Document, row: sqlite3.Row, reason: str) -> None:
        """Move a damaged row out of the way. If that fails, the next lookup tries again."""
        number = row["number"]
        column = "hash" if kind == "graph" else "id"
        copy = f"""INSERT INTO quarantine (kind, id, reason, created, sha256, payload)
                   SELECT ?, {column}, ?, ?, sha256, payload FROM {kind}s WHERE number = ?"""

        def work(connection: sqlite3.Connection) -> None:
            moved = connection.execute(copy, [kind, reason, records.now(), number])
            if not moved.rowcount:
                return  # another process was faster
            if kind == "profile":  # its graphs have checksums of their own and stay
                connection.execute("UPDATE graphs SET profile = NULL WHERE profile = ?", [number])
            if kind == "plan":
                items.take_curve_apart(connection, row["id"])
            connection.execute(f"DELETE FROM {kind}s WHERE number = ?", [number])
            oldest = (moved.lastrowid or 0) - MOST_QUARANTINED
            connection.execute("DELETE FROM quarantine WHERE number <= ?", [oldest])
            rows.increment(connection, f"{kind}.damaged")

        self._connection.attempt(work, REPAIR_SECONDS)

    def count(self, event: str) -> None:
        """Count an event, as `counters` tells it."""
        self._counts[event] += 1
        self._write_counts(wait=0.0)

    def _write_counts(self, wait: float) -> None:
        counts = +self._counts

        def work(connection: sqlite3.Connection) -> None:
            for event, count in counts.items():
                rows.increment(connection, event, count)

        if counts and self._connection.attempt(work, wait):
            self._counts -= counts


def _encode_graph(graph: Graph) -> bytes:
    graphs.check(graph)
    return integrity.encode(graph)


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
