"""The queries in docs/store.md run, and its table of tables is complete."""

from __future__ import annotations

import re

import pytest
import sqlite_utils

from fastsa.cache.store import Store
from support import builders
from support.paths import ROOT

PAGE = ROOT / "docs" / "store.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def database(store: Store) -> sqlite_utils.Database:
    graph = builders.graph()
    store.add_profile(builders.profile(graph))
    plan_id = store.add_plan(builders.plan(graph), builders.key(graph))
    store.add_run(builders.run(plan_id))
    return sqlite_utils.Database(str(store.path))


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_answers(database: sqlite_utils.Database, query: str) -> None:
    assert list(database.query(query.replace("c7c2%", "%")))


def test_every_table_is_named(database: sqlite_utils.Database) -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == set(database.table_names())
