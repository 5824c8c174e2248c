"""What the daemon finds to do of itself, and what it does not do again in vain."""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fastsa.cache.background_candidates import Worth
from fastsa.cache.keys import PlanKey, bare
from fastsa.cache.records import now
from fastsa.cache.requests import Request
from fastsa.cache.store import Store
from fastsa.planner.graph import Graph
from support import builders

GRAPH = builders.graph(6)


def key_of(graph: Graph) -> PlanKey:
    """As the store's columns have it."""
    key = builders.key(graph)
    return msgspec.structs.replace(key, graph=bare(key.graph))


KEY = key_of(GRAPH)
PLAN = builders.plan(GRAPH)
IMPROVE = Worth("improve", KEY, PLAN.step_budget_bytes)
CURVE = Worth("curve", KEY, 0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db") as opened:
        opened.add_graph(GRAPH)
        yield opened


def use(store: Store, graph: Graph = GRAPH, key: PlanKey = KEY, created: str | None = None) -> str:
    """A job that has trained with a plan."""
    plan_id = store.add_plan(builders.plan(graph), key)
    run = msgspec.structs.replace(builders.run(plan_id), created=created or now())
    store.add_run(run)
    return plan_id


def do(store: Store, worth: Worth | None, *, found: str | None = None, why: str = "") -> Request:
    """What the daemon does with it."""
    assert worth is not None
    store.requests.put(worth.kind, worth.key, worth.step_budget_bytes, anew=True)
    taken = store.requests.claim(60, ("plan", "improve", "curve"))
    assert taken is not None
    if why:
        store.requests.fail(taken.id, why)
    else:
        store.requests.finish(taken.id, found)
    return taken


def age(store: Store, days: int, *tables: str) -> None:
    """As if all that had been days ago."""
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    column = {"requests": "changed", "plans": "created"}
    with sqlite3.connect(store.path) as connection:
        for table in tables:
            connection.execute(
                f"UPDATE {table} SET {column[table]} = ?", [past.isoformat(timespec="seconds")]
            )
    connection.close()


def test_a_better_plan_then_a_curve(store: Store) -> None:
    assert store.agenda.next() is None
    use(store)
    assert store.agenda.next() == IMPROVE
    do(store, IMPROVE)
    assert store.agenda.next() == CURVE
    do(store, CURVE)
    assert store.agenda.next() is None


def test_the_latest_used_first(store: Store) -> None:
    other = builders.graph(7)
    store.add_graph(other)
    use(store)
    use(store, other, key_of(other))
    worth = store.agenda.next()
    assert worth is not None
    assert worth.key == key_of(other)


def test_what_nobody_uses(store: Store) -> None:
    store.add_plan(PLAN, KEY)
    use(store, created="2020-01-01T00:00:00+00:00")
    assert store.agenda.next() is None


def test_nothing_found_is_not_sought_again(store: Store) -> None:
    use(store)
    do(store, IMPROVE)
    do(store, CURVE)
    age(store, 3, "plans")
    age(store, 2, "requests")
    worth = store.agenda.next()
    assert worth != IMPROVE


def test_until_a_job_makes_the_plan_anew(store: Store) -> None:
    use(store)
    do(store, IMPROVE)
    age(store, 2, "requests")
    assert store.agenda.next() == IMPROVE


def test_what_was_found_is_searched_on_a_day_later(store: Store) -> None:
    plan_id = use(store)
    do(store, IMPROVE, found=plan_id)
    do(store, CURVE)
    agenda = store.agenda
    assert agenda.next() is None
    age(store, 2, "plans", "requests")
    assert agenda.next() == IMPROVE
    taken = do(store, agenda.next(), found=plan_id)
    assert taken.attempts == 1
    assert agenda.next() == CURVE


def test_what_failed_is_tried_a_day_later(store: Store) -> None:
    use(store)
    do(store, IMPROVE)
    do(store, CURVE, why="it was cut short")
    assert store.agenda.next() is None
    age(store, 3, "plans")
    age(store, 2, "requests")
    assert store.agenda.next() == CURVE


def test_a_curve_that_is_there(store: Store) -> None:
    use(store)
    do(store, IMPROVE)
    store.add_plans([builders.plan(GRAPH, seed=3)], KEY, "ab" * 32)
    assert store.agenda.next() is None


def test_what_waits_is_not_asked_for_again(store: Store) -> None:
    use(store)
    store.requests.put("improve", KEY, PLAN.step_budget_bytes)
    store.requests.put("curve", KEY, 0)
    age(store, 2, "requests")
    assert store.agenda.next() is None
