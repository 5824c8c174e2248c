"""What a check found stands beside its plan; what a run took too much is kept free of a graph."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from fastsa.cache.store import Store
from fastsa.errors import BadInput
from support import builders

GRAPH = builders.graph()
KEY = builders.key(GRAPH)
OTHER = builders.graph(4)


def change(path: Path, sql: str) -> None:
    """What no fastsa does: write to the file behind its back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(sql).rowcount == 1


@pytest.fixture
def plan_id(store: Store) -> str:
    store.add_graph(GRAPH)
    return store.add_plan(builders.plan(GRAPH), KEY)


class TestVerdicts:
    def test_comes_back(self, store: Store, plan_id: str) -> None:
        verdict = builders.verdict(plan_id)
        assert store.verdict(store.add_verdict(verdict)) == verdict
        assert store.verdict_on(plan_id) == verdict

    def test_there_is_none(self, store: Store, plan_id: str) -> None:
        assert store.verdict_on(plan_id) is None
        with pytest.raises(BadInput, match="there is no verdict"):
            store.verdict("0" * 64)

    def test_the_latest_counts(self, store: Store, plan_id: str) -> None:
        store.add_verdict(builders.verdict(plan_id))
        worse = builders.verdict(plan_id, identical=False)
        store.add_verdict(worse)
        assert store.verdict_on(plan_id) == worse

    def test_of_another_plan(self, store: Store, plan_id: str) -> None:
        store.add_verdict(builders.verdict("0" * 64))
        assert store.verdict_on(plan_id) is None

    @pytest.mark.parametrize(
        ("identical", "measured", "line"),
        [
            (True, 15 * 1024, "bit-identical over 3 steps, 2026-01-02"),
            (True, 17 * 1024, "bit-identical over 3 steps, over its budget, 2026-01-02"),
            (True, None, "bit-identical over 3 steps, peak not measured, 2026-01-02"),
            (False, 15 * 1024, "differs from the unplanned compiled graph, 2026-01-02"),
            (None, 15 * 1024, "could not be compared, 2026-01-02"),
        ],
    )
    def test_in_a_few_words(
        self, store: Store, plan_id: str, identical: bool | None, measured: int | None, line: str
    ) -> None:
        verdict = builders.verdict(plan_id, identical=identical, measured=measured)
        verdict_id = store.add_verdict(verdict)
        (plan,) = store.list_items("plan")
        (row,) = store.list_items("verdict")
        assert (row.id, row.checked, plan.checked) == (verdict_id, line, line)
        assert verdict.line == line
        assert verdict.holds == (line == "bit-identical over 3 steps, 2026-01-02")

    def test_not_checked(self, store: Store, plan_id: str) -> None:
        (plan,) = store.list_items("plan")
        assert plan.checked is None

    def test_goes_with_its_plan(self, store: Store, plan_id: str) -> None:
        verdict_id = store.add_verdict(builders.verdict(plan_id))
        kept = store.add_verdict(builders.verdict("0" * 64))
        assert store.removal(store.resolve(plan_id)).verdicts == (verdict_id,)
        store.remove(store.resolve(GRAPH.hash()))
        assert [row.id for row in store.list_items("verdict")] == [kept]

    def test_goes_alone(self, store: Store, plan_id: str) -> None:
        store.remove(store.resolve(store.add_verdict(builders.verdict(plan_id))))
        assert [row.kind for row in store.list_items()] == ["graph", "plan"]

    @pytest.mark.parametrize("damage", ["payload = x'00'", f"plan = '{'0' * 64}'"])
    def test_a_damaged_one_is_none(
        self, store: Store, path: Path, plan_id: str, damage: str
    ) -> None:
        store.add_verdict(builders.verdict(plan_id))
        change(path, f"UPDATE verdicts SET {damage}")
        asked = "0" * 64 if damage.startswith("plan") else plan_id
        assert store.verdict_on(asked) is None
        assert store.counters()["verdict.damaged"] == 1
        assert store.list_items("verdict") == []


class TestMargins:
    def test_of_one_graph_on_one_device(self, store: Store) -> None:
        margin = builders.margin(GRAPH, 1000, run="0" * 64)
        store.set_margin(margin)
        assert store.margin(GRAPH.hash(), builders.DEVICE) == margin
        assert store.margin(GRAPH.hash(), "another") is None
        assert store.margin(OTHER.hash(), builders.DEVICE) is None

    def test_the_last_one_counts(self, store: Store) -> None:
        store.set_margin(builders.margin(GRAPH, 1000))
        store.set_margin(builders.margin(GRAPH, 10, device="another"))
        store.set_margin(builders.margin(GRAPH, 500))
        found = [store.margin(GRAPH.hash(), name) for name in (builders.DEVICE, "another")]
        assert [each and each.bytes for each in found] == [500, 10]

    def test_none_is_forgotten(self, store: Store, path: Path) -> None:
        store.set_margin(builders.margin(GRAPH, 1000))
        store.set_margin(builders.margin(GRAPH, 0))
        assert store.margin(GRAPH.hash(), builders.DEVICE) is None
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM margins").fetchone() == (0,)

    def test_goes_with_its_graph(self, store: Store) -> None:
        store.add_graph(GRAPH)
        store.set_margin(builders.margin(GRAPH, 1000))
        store.set_margin(builders.margin(OTHER, 1000))
        store.remove(store.resolve(GRAPH.hash()))
        assert store.margin(GRAPH.hash(), builders.DEVICE) is None
        assert store.margin(OTHER.hash(), builders.DEVICE)

    @pytest.mark.parametrize(
        "damage", ["payload = x'00'", "bytes = 1", "bytes = 9000000000000000000", "sha256 = id"]
    )
    def test_a_damaged_one_is_none(self, store: Store, path: Path, damage: str) -> None:
        store.set_margin(builders.margin(GRAPH, 1000))
        if damage == "sha256 = id":
            damage = f"sha256 = '{'0' * 64}'"
        change(path, f"UPDATE margins SET {damage}")
        assert store.margin(GRAPH.hash(), builders.DEVICE) is None
        assert store.counters()["margin.damaged"] == 1
        store.set_margin(builders.margin(GRAPH, 2000))
        assert store.margin(GRAPH.hash(), builders.DEVICE)

    def test_a_negative_one_is_not_read(self, store: Store, path: Path) -> None:
        """What the column refuses, a payload that claims it cannot bring in."""
        margin = msgspec.structs.replace(builders.margin(GRAPH, 1000), bytes=-1)
        with pytest.raises(Exception, match="CHECK"):
            store.set_margin(margin)
