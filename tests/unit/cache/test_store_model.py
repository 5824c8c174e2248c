"""The store against a dict: plans are added, removed, damaged and reopened in any order."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from fastsa.cache.store import Store
from fastsa.errors import StoreUnusable
from fastsa.planner.plan import Plan
from support import builders

GRAPHS = [builders.graph(layers) for layers in (1, 2, 3)]
KEYS = [builders.key(graph) for graph in GRAPHS]


@pytest.mark.promise("fault-7")
class Stored(RuleBasedStateMachine):
    """`plans` are those that must be found, by their keys."""

    ids = Bundle("ids")

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "store.db"
        self.store = Store.open(self.path)
        self.plans: dict[str, tuple[int, Plan]] = {}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    @rule(
        target=ids,
        which=st.integers(0, 2),
        peak=st.integers(1, 5),
        seconds=st.integers(1, 3),
    )
    def add(self, which: int, peak: int, seconds: int) -> str:
        plan = builders.plan(GRAPHS[which], peak=peak * 1024, seconds=float(seconds))
        plan_id = self.store.add_plan(plan, KEYS[which])
        self.plans[plan_id] = (which, plan)
        return plan_id

    @rule(which=st.integers(0, 2), budget=st.integers(0, 6))
    def find(self, which: int, budget: int) -> None:
        found = self.store.find_plan(KEYS[which], budget * 1024)
        fitting = [
            (plan.seconds, plan.peak_bytes)
            for key, plan in self.plans.values()
            if key == which and plan.peak_bytes <= budget * 1024
        ]
        if not fitting:
            assert found is None
        else:
            assert found is not None
            assert (found.plan.seconds, found.plan.peak_bytes) == min(fitting)
            assert self.plans[found.id][1] == found.plan

    @rule(plan_id=ids)
    def read(self, plan_id: str) -> None:
        if plan_id in self.plans:
            assert self.store.plan(plan_id) == self.plans[plan_id][1]

    @rule(plan_id=ids)
    def remove(self, plan_id: str) -> None:
        if plan_id in self.plans:
            gone = self.store.remove(self.store.resolve(plan_id))
            assert gone.plans == (plan_id,)
            del self.plans[plan_id]

    @rule(plan_id=ids, place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def damage(self, plan_id: str, place: float, bit: int) -> None:
        """A bit changes: no other plan is read, and nothing else is the worse for it."""
        if plan_id not in self.plans:
            return
        with closing(sqlite3.connect(self.path)) as connection, connection:
            (payload,) = connection.execute(
                "SELECT payload FROM plans WHERE id = ?", [plan_id]
            ).fetchone()
            changed = bytearray(payload)
            changed[int(place * len(changed))] ^= 1 << bit
            connection.execute(
                "UPDATE plans SET payload = ? WHERE id = ?", [bytes(changed), plan_id]
            )
        try:  # of the last byte of compressed data some bits mean nothing
            assert self.store.plan(plan_id) == self.plans[plan_id][1]
        except StoreUnusable:
            del self.plans[plan_id]

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.path)

    @rule()
    def collect_nothing(self) -> None:
        gone = self.store.collect(before="1999-01-01T00:00:00+00:00", max_bytes=1 << 40)
        assert not gone.plans

    @rule()
    def collect_all(self) -> None:
        gone = self.store.collect(before="2999-01-01T00:00:00+00:00", max_bytes=None)
        assert set(gone.plans) == set(self.plans)
        self.plans.clear()

    @rule(share=st.floats(0, 1))
    def collect_to_a_size(self, share: float) -> None:
        """What is left fits, or nothing is left; what would go is what goes."""
        most = int(self.store.facts().content_bytes * share)
        would = self.store.collect(before=None, max_bytes=most, dry_run=True)
        assert {row.id for row in self.store.list_items("plan")} == set(self.plans)
        gone = self.store.collect(before=None, max_bytes=most)
        assert set(gone.plans) == set(would.plans) <= set(self.plans)
        for plan_id in gone.plans:
            del self.plans[plan_id]
        assert not self.plans or gone.bytes_after <= most

    @rule(plan_id=ids)
    def collect_all_but_one_in_use(self, plan_id: str) -> None:
        if plan_id not in self.plans:
            return
        self.store.uses.begin(plan_id)
        gone = self.store.collect(before="2999-01-01T00:00:00+00:00", max_bytes=None)
        assert set(gone.plans) == set(self.plans) - {plan_id}
        self.store.uses.end([plan_id])
        self.plans = {plan_id: self.plans[plan_id]}

    @rule()
    def vacuum(self) -> None:
        self.store.vacuum()

    @invariant()
    def all_is_there(self) -> None:
        if hasattr(self, "store"):
            assert {row.id for row in self.store.list_items("plan")} == set(self.plans)


class StoredForLong(Stored):
    """The same in more and longer ways."""


Stored.TestCase.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)
StoredForLong.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestStored = Stored.TestCase
TestStoredForLong = pytest.mark.nightly(StoredForLong.TestCase)
