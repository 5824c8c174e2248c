"""Every import goes down the list of rooms, and no file is part of a circle of imports."""

from __future__ import annotations

import ast
import importlib.util
import re
from types import ModuleType

import pytest

from support.import_graph import BASE, ORDER, TOP, ImportGraph, room_of
from support.paths import ROOT

GRAPH = ImportGraph()
FOLDERS = {path.parent.name for path in ROOT.glob("*/__init__.py")}


def load(script: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(script, ROOT / "docs" / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_graph_is_of_all_files() -> None:
    assert set(ORDER) == FOLDERS | {TOP, "config", BASE}
    assert len(GRAPH.modules) > 200
    assert "fastsa.planner.graph" in GRAPH.edges["fastsa.records.profile"]
    assert "fastsa.profiling" in GRAPH.edges["fastsa"]  # under TYPE_CHECKING
    assert "fastsa.planner.solve" in GRAPH.edges["fastsa.cli.plan"]  # in a function


def test_every_import_goes_down() -> None:
    place = {room: number for number, room in enumerate(ORDER)}
    assert [
        f"{importer} imports {imported}"
        for importer, all_imported in GRAPH.edges.items()
        for imported in all_imported
        if place[room_of(importer)] > place[room_of(imported)]
    ] == []


def test_no_circle() -> None:
    assert GRAPH.circles() == []


def test_a_circle_would_be_seen() -> None:
    graph = ImportGraph()
    graph.modules = dict.fromkeys("abcd", ROOT)
    graph.loaded = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}
    assert graph.circles() == [["a", "b", "c"]]


def test_who_knows_little_of_whom() -> None:
    between = GRAPH.between_rooms()
    assert between["runtime", "profiler"] < 10
    assert between["runtime", "daemon"] < 5
    assert between["report", "profiler"] == 0


@pytest.mark.parametrize("room", ["planner", "records", "cache", "report", "daemon"])
def test_without_torch(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(re.match(r"torch\b", alias.name) for alias in node.names), path
            elif isinstance(node, ast.ImportFrom):
                assert not re.match(r"torch\b", node.module or ""), path


def test_the_page_and_its_picture_are_up_to_date() -> None:
    page = load("make_architecture")
    assert page.PAGE.read_text("utf-8") == page.document(), "run python docs/make_architecture.py"
    assert page.PICTURE.read_text("utf-8") == page.picture(), "run docs/make_architecture.py"


@pytest.mark.parametrize("walk", load("make_architecture").WALKS.items(), ids=lambda walk: walk[0])
def test_a_walk_is_short_and_never_comes_back(
    walk: tuple[str, tuple[tuple[str, str, str], ...]],
) -> None:
    _, hops = walk
    assert len(hops) <= 7
    files = [path for path, _, _ in hops]
    assert len(set(files)) == len(files)
    for path, name, _ in hops:
        text = (ROOT / path).read_text("utf-8")
        for part in name.split("."):
            assert re.search(rf"(def|class|[\w>]) {part}\b", text), (path, name)
