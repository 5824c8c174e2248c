"""Every import goes down the list of rooms, and no file is part of a circle of imports."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterator
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


# The same class in the words of two frameworks.
SAME_ON_PURPOSE = {"FastsaCallback"}
MOST_ATTRIBUTES, MOST_METHODS = 15, 20
WHY = "large because"  # says the docstring of one that has more


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for module, path in GRAPH.modules.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield module, node


def attributes(node: ast.ClassDef) -> set[str]:
    """What a class declares, and what its methods set."""
    declared = [each.target for each in node.body if isinstance(each, ast.AnnAssign)]
    names = {target.id for target in declared if isinstance(target, ast.Name)}
    return names | {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }


def test_a_public_name_is_of_one_class() -> None:
    places = defaultdict(list)
    for module, node in classes():
        if not node.name.startswith("_") and node.name not in SAME_ON_PURPOSE:
            places[node.name].append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_no_class_has_many_jobs() -> None:
    """A record of the store or of a report may have as many fields as it has facts."""
    for module, node in classes():
        is_record = any("Struct" in ast.unparse(base) for base in node.bases)
        methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
        fields = set() if is_record else attributes(node)
        is_large = len(methods) > MOST_METHODS or len(fields) > MOST_ATTRIBUTES
        if is_large:
            assert WHY in (ast.get_docstring(node) or ""), (module, node.name)
