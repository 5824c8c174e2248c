"""Stores of older fastsas: every row is kept, and old documents are read as today's."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_utils

from fastsa.cache import schema
from fastsa.cache.store import Store
from support import builders
from support.paths import SUPPORT

GRAPH = builders.graph()
KEY = builders.key(GRAPH)
# Of schema 2, made by the code of its time: 24 allocations, each with a site of its own but for
# those that differ from an earlier one in bytes and time alone.
PROFILE_ID = "666ceadc94927ed5998ea29af66fe6518c243ae7c4d4dd2e739f8039048ccb97"
DUPLICATES = """UPDATE allocations SET (category, op, source) =
    (SELECT category, op, source FROM allocations same WHERE same.allocation = 4)
    WHERE allocation IN (9, 17)"""


def old_store(path: Path, version: int, *more: str) -> Path:
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        text = (SUPPORT / "schemas" / f"store_schema_{version}.sql").read_text(encoding="utf-8")
        connection.executescript(text)
        for statement in more:
            connection.execute(statement)
    return path


def counts(path: Path) -> dict[str, int]:
    database = sqlite_utils.Database(str(path))
    return {name: database[name].count for name in database.table_names()}


@pytest.mark.promise("fault-8")
@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_every_row_is_kept(path: Path, version: int) -> None:
    before = counts(old_store(path, version))
    with Store.open(path) as store:
        assert not store._connection.rows("PRAGMA foreign_key_check")
    after = counts(path)
    assert {name: after[name] for name in before} == before
    assert not [name for name in after if name.startswith("new_")]


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_the_tables_are_those_of_a_new_store(path: Path, version: int, tmp_path: Path) -> None:
    Store.open(old_store(path, version)).close()
    Store.open(tmp_path / "new.db").close()

    def told(place: Path) -> list[str]:
        with closing(sqlite3.connect(place)) as connection:
            rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
            # What ALTER TABLE renames is quoted from then on.
            return sorted(" ".join(map(str, row)).replace('"', "") for row in rows)

    assert told(path) == told(tmp_path / "new.db")


BUDGETS = {
    "plans": "step_budget_bytes",
    "requests": "step_budget_bytes",
    "runs": "process_budget_bytes",
    "verdicts": "process_budget_bytes",
}


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_budgets_have_the_names_of_what_they_are_for(path: Path, version: int) -> None:
    def column(table: str, name: str) -> list[int]:
        return [row[name] for row in sqlite_utils.Database(str(path))[table].rows]

    old_store(path, version)
    there = [each for each in BUDGETS if each in counts(path)]
    before = {table: column(table, "budget_bytes") for table in there}
    with Store.open(path) as store:
        plans = [store.plan(row.id).step_budget_bytes for row in store.list_items("plan")]
        runs = [store.run(row.id).process_budget_bytes for row in store.list_items("run")]
    assert {table: column(table, BUDGETS[table]) for table in there} == before
    assert (sorted(plans), sorted(runs)) == (sorted(before["plans"]), sorted(before["runs"]))
    assert before["plans"]


def test_an_old_profile_is_read_as_one_of_today(path: Path) -> None:
    with Store.open(old_store(path, 2)) as store:
        (row,) = store.list_items("profile")
        profile = store.profile(PROFILE_ID)
        (graph,) = (region.graph for region in profile.regions)
        assert (row.id, row.seconds) == (PROFILE_ID, 0.25)
        assert (profile.schema, profile.missing, graph) == ("fastsa.profile/2", (), GRAPH)
        assert store.measured_graph(profile.regions[0].captured_hash, builders.DEVICE) == GRAPH
    timeline = profile.timeline
    assert len(timeline.allocations) == 24
    fifth = timeline.allocations[4]
    assert (fifth.bytes, fifth.birth, fifth.death) == (5 * 1024, None, None)
    site = timeline.site(fifth)
    assert (site.category, site.op, site.source) == ("activation", None, "train.py:4")
    assert profile.saved[0].bytes == 4096


def test_the_tables_tell_what_the_old_document_tells(path: Path) -> None:
    with Store.open(old_store(path, 2)) as store:
        timeline = store.profile(PROFILE_ID).timeline
    rows = sqlite_utils.Database(str(path)).query("SELECT * FROM allocations ORDER BY allocation")
    told = [tuple(row.values())[2:] for row in rows]
    assert told == [
        (a.bytes, a.birth, a.death, a.birth_seconds, a.death_seconds, a.site)
        for a in timeline.allocations
    ]
    sites = sqlite_utils.Database(str(path)).query("SELECT * FROM sites ORDER BY site")
    assert [(s["category"], s["op"], s["source"]) for s in sites] == [
        (s.category, s.op, s.source) for s in timeline.sites
    ]


def test_allocations_from_one_place_share_a_site(path: Path) -> None:
    Store.open(old_store(path, 2, DUPLICATES)).close()
    database = sqlite_utils.Database(str(path))
    shared = database.query("SELECT allocation, site FROM allocations WHERE allocation IN (4,9,17)")
    assert [(row["allocation"], row["site"]) for row in shared] == [(4, 4), (9, 4), (17, 4)]
    assert database["blocks"].count == 24
    assert database["sites"].count == 22


def test_removing_an_old_profile_takes_its_rows_along(path: Path) -> None:
    with Store.open(old_store(path, 2)) as store:
        store.remove(store.resolve(PROFILE_ID))
    left = counts(path)
    assert (left["profiles"], left["allocations"], left["sites"], left["ops"]) == (0, 0, 0, 0)
