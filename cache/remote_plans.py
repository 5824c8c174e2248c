"""Remote plans: plans and graphs that several machines share, behind the store of each.

Each is an object: a compressed JSON document, the sha256 of the document at the end of its name.
Under the remote's URL:

    fastsa-1/plans/KEY/PEAK-SHA256         a plan, by its key's digest and its peak in bytes
    fastsa-1/graphs/CAPTURED/TIME-SHA256   a measured graph, by what a job captures, and when

Nothing of it is trusted: objects are checked as imported files are, and a plan's seconds are made
anew, those of this machine's graph.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from fastsa.cache import integrity
from fastsa.cache.keys import PlanKey, bare
from fastsa.cache.remote import Entry, Remote
from fastsa.cache.store import Store
from fastsa.errors import BadInput
from fastsa.planner import graph as graphs
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.planner.search import certify
from fastsa.planner.step import Order, region_names

MOST_BYTES = 64 << 20  # of one object
MOST_PLANS, MOST_GRAPHS = 4, 2  # fetched for one lookup, the likeliest first
MOST_RUNS = 32  # of an op, on average, in a plan that is looked at
BOUND_SECONDS = 0.1  # for a plan's lower bound
NO_NUMBER = 1 << 64
PLANS, GRAPHS = "fastsa-1/plans", "fastsa-1/graphs"

T = TypeVar("T", "SharedPlan", "SharedGraph")


class SharedPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plan with its key. `in_curve`: it is of a curve, which has searched every budget."""

    key: PlanKey
    plan: Plan
    in_curve: bool = False


class SharedGraph(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measured graph, of one captured region or, if `captured_hash` is None, of a step."""

    graph: Graph
    captured_hash: str | None = None


class RemotePlans:
    """The plans and graphs of a remote. Every method may raise Unreachable, and StoreUnusable if
    it has a store. What is damaged, illegal or too large is passed over: `refused` has the reasons.
    """

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self.refused: list[str] = []

    def fetch_plans(self, store: Store, graph: Graph, key: PlanKey, step_budget_bytes: int) -> int:
        """Store the plans that come closest to a budget. Returns how many there are.

        Bytes are the step's own, like a plan's.
        """
        folder = f"{PLANS}/{key.digest()}"
        found = ((_number(entry), entry) for entry in self._remote.entries(folder))
        likely = sorted((peak, entry.name) for peak, entry in found if peak <= step_budget_bytes)
        taken = 0
        for _, name in reversed(likely[-MOST_PLANS:]):
            shared = self._object(f"{folder}/{name}", SharedPlan)
            if shared is not None and self._take_plan(
                store, graph, key, shared, None if taken else step_budget_bytes
            ):
                taken += 1
        return taken

    def fetch_graphs(self, store: Store, captured_hash: str, device: str) -> int:
        """Store the latest graphs measured on a device of what a job captures."""
        taken = 0
        for shared in self._graphs_of(bare(captured_hash), MOST_GRAPHS):
            if (shared.graph.device or {}).get("name") == device:
                store.add_graph(shared.graph, shared.captured_hash)
                taken += 1
        return taken

    def fetch_all(self, store: Store) -> tuple[int, int]:
        """Store all there is. Returns how many graphs and plans."""
        taken_graphs = taken_plans = 0
        for captured in self._remote.folders(GRAPHS):
            for shared in self._graphs_of(captured, None):
                store.add_graph(shared.graph, shared.captured_hash)
                taken_graphs += 1
        for digest in self._remote.folders(PLANS):
            for entry in self._remote.entries(f"{PLANS}/{digest}"):
                plan = self._object(f"{PLANS}/{digest}/{entry.name}", SharedPlan)
                if plan is not None:
                    graph = store.graph(plan.key.graph)
                    if graph is None:
                        self.refused.append(f"plan {entry.name[-12:]}: its graph is not there")
                    else:
                        taken_plans += self._take_plan(store, graph, plan.key, plan, None)
        return taken_graphs, taken_plans

    def push_plan(self, plan: Plan, key: PlanKey, *, in_curve: bool = False) -> None:
        """Begin to write a plan."""
        if plan.fits:
            data, name = _packed(SharedPlan(key, plan, in_curve), plan.peak_bytes)
            self._remote.put(f"{PLANS}/{key.digest()}/{name}", data)

    def push_graph(self, graph: Graph, captured_hash: str | None) -> None:
        """Begin to write a graph, once for each captured region in it."""
        data, name = _packed(_shared_graph(graph, captured_hash), int(time.time()))
        for captured in _captured(graph, captured_hash):
            self._remote.put(f"{GRAPHS}/{captured}/{name}", data)

    def push_all(self, store: Store) -> tuple[int, int]:
        """Write what the store has and the remote has not. Returns how many graphs and plans."""
        pushed_graphs = pushed_plans = 0
        for graph_hash, captured_hash in store.graph_hashes():
            graph = store.graph(graph_hash)
            if graph is not None and not self._has_graph(graph, captured_hash):
                self.push_graph(graph, captured_hash)
                pushed_graphs += 1
        for row in store.list_items("plan"):
            stored = store.stored_plan(row.id)
            shared = SharedPlan(stored.key, stored.plan, stored.curve is not None)
            if stored.plan.fits and not self._has(f"{PLANS}/{stored.key.digest()}", shared):
                self.push_plan(stored.plan, stored.key, in_curve=shared.in_curve)
                pushed_plans += 1
        self._remote.finish()
        return pushed_graphs, pushed_plans

    def finish(self) -> int:
        """Wait until everything is written. Returns how many objects were."""
        return self._remote.finish()

    # Taking -----------------------------------------------------------------------------------

    def _take_plan(
        self, store: Store, graph: Graph, key: PlanKey, shared: SharedPlan, closest: int | None
    ) -> bool:
        """Store a plan if it is legal. The closest of a curve to a budget is the one for it."""
        plan = shared.plan
        budget = closest if closest is not None and shared.in_curve else plan.step_budget_bytes
        try:
            if shared.key.digest() != key.digest() or bare(plan.graph) != bare(graph.hash()):
                raise BadInput("it is of another graph or machine", hint="do not use it")
            if len(plan.sequence) > MOST_RUNS * len(graph.ops):
                raise BadInput("it would take too long to check", hint="do not use it")
            order = Order(plan.sequence, plan.segment_starts)
            made = certify(graph, order, budget, planner=plan.planner, time_limit=BOUND_SECONDS)
            if not made.fits:
                raise BadInput("it does not keep its own budget", hint="do not use it")
            store.add_plan(made, key)
        except BadInput as error:
            self.refused.append(f"plan for {bare(key.graph)[:12]}: {error.message}")
            return False
        return True

    def _graphs_of(self, captured: str, most: int | None) -> Iterator[SharedGraph]:
        """Those that are what they are listed as, the oldest first."""
        found = self._remote.entries(f"{GRAPHS}/{captured}")
        entries = sorted((each for each in found if _number(each) < NO_NUMBER), key=_number)
        for entry in entries if most is None else entries[-most:]:
            shared = self._object(f"{GRAPHS}/{captured}/{entry.name}", SharedGraph)
            if shared is None:
                continue
            try:
                graphs.check(shared.graph)
                if captured not in _captured(shared.graph, shared.captured_hash):
                    raise BadInput("it is of another region", hint="do not use it")
            except BadInput as error:
                self.refused.append(f"graph {entry.name[-12:]}: {error.message}")
            else:
                yield shared

    def _object(self, name: str, kind: type[T]) -> T | None:
        payload = self._remote.get(name, MOST_BYTES)
        try:
            return integrity.unpack(payload, name.rpartition("-")[2], kind)
        except integrity.Damaged as error:
            self.refused.append(f"{name}: {error}")
            return None

    # Having -----------------------------------------------------------------------------------

    def _has_graph(self, graph: Graph, captured_hash: str | None) -> bool:
        shared = _shared_graph(graph, captured_hash)
        return all(self._has(f"{GRAPHS}/{c}", shared) for c in _captured(graph, captured_hash))

    def _has(self, folder: str, shared: SharedPlan | SharedGraph) -> bool:
        digest = hashlib.sha256(msgspec.json.encode(shared)).hexdigest()
        entries = self._remote.entries(folder)
        return any(entry.name.endswith(digest) and entry.bytes for entry in entries)


def _shared_graph(graph: Graph, captured_hash: str | None) -> SharedGraph:
    return SharedGraph(graph, None if captured_hash is None else bare(captured_hash))


def _captured(graph: Graph, captured_hash: str | None) -> set[str]:
    """The captured regions that a graph is looked up by."""
    names = region_names(graph) if captured_hash is None else (captured_hash,)
    return {bare(name) for name in names if name}


def _packed(shared: SharedPlan | SharedGraph, number: int) -> tuple[bytes, str]:
    """An object and its name."""
    data = integrity.encode(shared)
    return integrity.pack(data), f"{number}-{integrity.checksum(data)}"


def _number(entry: Entry) -> int:
    """What an object's name begins with; NO_NUMBER if it is none of ours."""
    number = entry.name.partition("-")[0]
    is_ours = number.isascii() and number.isdecimal() and len(number) < 20
    return int(number) if is_ours else NO_NUMBER
