"""Remote session: what a process gets from other machines and gives them. Nothing depends on it."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from fastsa import config
from fastsa.cache.keys import PlanKey
from fastsa.cache.remote import Remote, Unreachable
from fastsa.cache.remote_plans import RemotePlans
from fastsa.cache.store import Store
from fastsa.errors import BadInput, warn
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan

SECONDS = 2.0  # that a process waits for it, all in all

T = TypeVar("T")


class RemoteSession:
    """The store's second tier, as jobs and commands see it; without a remote there is none.

    Raises nothing for what happens out there: it warns once, and is not asked again. Fetching may
    raise StoreUnusable.
    """

    def __init__(self, remote: Remote | None) -> None:
        self._shared = None if remote is None else RemotePlans(remote)
        self._asked: set[object] = set()
        self._process = os.getpid()
        self._is_over = False

    def fetch_plan(self, store: Store, graph: Graph, key: PlanKey, step_budget_bytes: int) -> bool:
        """Take over what comes closest to a budget; whether there is anything new."""
        return self._fetched(
            store,
            ("plan", key.digest(), step_budget_bytes),
            lambda shared: shared.fetch_plans(store, graph, key, step_budget_bytes),
        )

    def fetch_graph(self, store: Store, captured_hash: str, device: str) -> bool:
        """Take over what others have measured of a captured region; whether there is anything."""
        return self._fetched(
            store,
            ("graph", captured_hash, device),
            lambda shared: shared.fetch_graphs(store, captured_hash, device),
        )

    def plan_made(self, plan: Plan, key: PlanKey, *, in_curve: bool = False) -> None:
        """Let others have a plan, perhaps one of a whole curve."""
        self._try(lambda shared: shared.push_plan(plan, key, in_curve=in_curve))

    def graph_made(self, graph: Graph, captured_hash: str | None = None) -> None:
        """Let others have a graph."""
        self._try(lambda shared: shared.push_graph(graph, captured_hash))

    def finish(self) -> None:
        """Wait for what is still being written, as long as may be."""
        self._try(RemotePlans.finish)

    def _fetched(self, store: Store, what: object, fetch: Callable[[RemotePlans], int]) -> bool:
        shared = self._usable()
        if shared is None or what in self._asked:
            return False
        self._asked.add(what)
        taken = self._try(fetch)
        store.count(f"remote.{'error' if taken is None else 'hit' if taken else 'miss'}")
        for _ in shared.refused:
            store.count("remote.refused")
        shared.refused.clear()
        return bool(taken)

    def _usable(self) -> RemotePlans | None:
        return None if self._is_over or os.getpid() != self._process else self._shared

    def _try(self, work: Callable[[RemotePlans], T]) -> T | None:
        shared = self._usable()
        try:
            return None if shared is None else work(shared)
        except Unreachable as error:
            self._is_over = True
            warn(f"the remote is not used: {error.message}")
            return None


def remote_session() -> RemoteSession:
    """The one of this process, with the remote that the user has set."""
    try:
        return _sharing(config.user_value("remote").value)
    except BadInput as error:
        warn(f"the remote is not used: {error}")
        return _sharing(None)


@cache
def _sharing(url: str | None) -> RemoteSession:
    found = RemoteSession(None if url is None else Remote(url, SECONDS))
    atexit.register(found.finish)
    return found
