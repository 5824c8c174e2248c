"""The plans of a curve: stored together, found at any budget, and single plans once one is gone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from fastsa.cache import schema
from fastsa.cache.items import Item
from fastsa.cache.store import Store
from fastsa.errors import BadInput, StoreUnusable
from fastsa.planner.plan import Plan
from support import builders
from support.paths import SUPPORT

GRAPH = builders.graph()
KEY = builders.key(GRAPH)
CURVE = "c" * 64
PLANS = [
    builders.plan(GRAPH, peak=peak, seconds=seconds)
    for peak, seconds in ((8000, 1e-3), (6000, 2e-3), (4000, 3e-3))
]
BASE = GRAPH.base_seconds
OLD = SUPPORT / "schemas" / "store_schema_1.sql"


def plans_of(store: Store) -> dict[str, str | None]:
    return {row.id: row.curve for row in store.list_items("plan")}


class TestAdding:
    def test_each_plan_says_which_curve_it_is_of(self, store: Store) -> None:
        ids = store.add_plans(PLANS, KEY, CURVE)
        alone = store.add_plan(builders.plan(GRAPH, seed=1), KEY)
        assert [store.stored_plan(each).plan for each in ids] == PLANS
        assert {store.stored_plan(each).curve for each in ids} == {CURVE}
        assert plans_of(store) == {**dict.fromkeys(ids, CURVE), alone: None}
        assert store.stored_plan(alone).curve is None

    def test_all_or_none(self, store: Store) -> None:
        wrong = msgspec.structs.replace(PLANS[1], peak_bytes=-1)
        with pytest.raises(BadInput):
            store.add_plans([PLANS[0], wrong], KEY, CURVE)
        with pytest.raises(BadInput, match="another graph"):
            store.add_plans([PLANS[0], builders.plan(builders.graph(5))], KEY, CURVE)
        assert store.list_items() == []

    def test_without_a_curve_they_are_single_plans(self, store: Store) -> None:
        ids = store.add_plans(PLANS, KEY)
        assert plans_of(store) == dict.fromkeys(ids)
        assert not store.has_curve(KEY, 2**40, BASE)

    def test_adding_one_again_leaves_it_in_its_curve(self, store: Store) -> None:
        ids = store.add_plans(PLANS, KEY, CURVE)
        assert store.add_plan(PLANS[1], KEY) == ids[1]
        assert plans_of(store) == dict.fromkeys(ids, CURVE)


class TestFinding:
    @pytest.mark.parametrize(
        ("budget", "seconds"), [(9000, 1e-3), (8000, 1e-3), (7999, 2e-3), (4000, 3e-3)]
    )
    def test_the_fastest_that_fits(self, store: Store, budget: int, seconds: float) -> None:
        store.add_plans(PLANS, KEY, CURVE)
        found = store.find_plan(KEY, budget)
        assert found is not None
        assert (found.plan.seconds, found.curve) == (seconds, CURVE)
        assert store.has_curve(KEY, budget, BASE)

    def test_below_its_end_there_is_none(self, store: Store) -> None:
        store.add_plans(PLANS, KEY, CURVE)
        assert not store.has_curve(KEY, 3999, BASE)
        assert store.find_plan(KEY, 3999) is None

    def test_it_is_of_one_key_and_of_the_seconds_it_was_made_from(self, store: Store) -> None:
        store.add_plans(PLANS, KEY, CURVE)
        assert not store.has_curve(builders.key(GRAPH, device="Other"), 9000, BASE)
        assert not store.has_curve(KEY, 9000, BASE * 2)

    def test_what_is_not_usable_is_passed_over(self, store: Store) -> None:
        store.add_plans(PLANS, KEY, CURVE)

        def usable(plan: Plan) -> bool:
            return plan.seconds > 1e-3

        found = store.find_plan(KEY, 9000, usable)
        assert found is not None
        assert found.plan == PLANS[1]
        assert store.find_plan(KEY, 9000, lambda plan: False) is None


class TestGaps:
    """A curve that has lost a plan may no longer speak for the budgets around it."""

    def test_after_a_removal(self, store: Store) -> None:
        ids = store.add_plans(PLANS, KEY, CURVE)
        other = store.add_plan(builders.plan(GRAPH, seed=1), KEY)
        store.remove(Item("plan", other))
        assert store.has_curve(KEY, 9000, BASE), "that was no plan of it"
        store.remove(Item("plan", ids[1]))
        assert plans_of(store) == {ids[0]: None, ids[2]: None}
        assert not store.has_curve(KEY, 9000, BASE)

    def test_after_damage(self, store: Store) -> None:
        ids = store.add_plans(PLANS, KEY, CURVE)
        with closing(sqlite3.connect(store.path)) as connection:
            connection.execute("UPDATE plans SET payload = x'00' WHERE id = ?", [ids[1]])
            connection.commit()
        found = store.find_plan(KEY, 6000)
        assert found is not None
        assert found.plan == PLANS[2]
        assert plans_of(store) == {ids[0]: None, ids[2]: None}

    def test_with_its_graph_all_of_it_goes(self, store: Store) -> None:
        store.add_graph(GRAPH)
        ids = store.add_plans(PLANS, KEY, CURVE)
        removed = store.remove(store.resolve(GRAPH.hash()))
        assert set(removed.plans) == set(ids)
        assert store.list_items() == []


class TestOlderStores:
    @pytest.fixture
    def old(self, path: Path) -> Path:
        path.parent.mkdir()
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(OLD.read_text(encoding="utf-8"))
        return path

    def test_what_was_in_it_is_still_there(self, old: Path) -> None:
        with Store.open(old) as store:
            assert store.graph(GRAPH.hash()) == GRAPH
            found = store.find_plan(KEY, 2**40)
            assert found is not None
            assert (found.plan, found.curve) == (builders.plan(GRAPH), None)
            assert store.runs_of(found.id) == [builders.run(found.id)]
            assert not store.has_curve(KEY, 2**40, BASE)

    def test_it_is_as_good_as_a_new_one(self, old: Path, tmp_path: Path) -> None:
        Store.open(old).close()
        Store.open(tmp_path / "new.db").close()

        def columns(path: Path) -> list[tuple[str, str]]:
            with closing(sqlite3.connect(path)) as connection:
                assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
                return connection.execute(
                    """SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c
                       UNION SELECT name, type FROM sqlite_master ORDER BY 1, 2"""
                ).fetchall()

        assert columns(old) == columns(tmp_path / "new.db")

    def test_it_takes_a_curve(self, old: Path) -> None:
        with Store.open(old) as store:
            store.add_plans(PLANS, KEY, CURVE)
            assert store.has_curve(KEY, 4000, BASE)

    def test_a_migration_that_fails_leaves_it_as_it_was(self, old: Path) -> None:
        def state() -> list[tuple[object, ...]]:
            with closing(sqlite3.connect(old)) as connection:
                return [
                    *connection.execute("PRAGMA user_version"),
                    *connection.execute("SELECT name FROM sqlite_master"),
                    *connection.execute("SELECT * FROM plans"),
                ]

        with closing(sqlite3.connect(old)) as connection:  # the second statement will fail
            connection.execute("CREATE TABLE plans_by_curve (a)")
        before = state()
        with pytest.raises(StoreUnusable):
            Store.open(old)
        assert state() == before
