"""A second start of a job: out of torch's cache to the same bits, or traced again on any doubt."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastsa.cache.compile_cache_index import CompileCacheEntry, CompileCacheIndex
from support.fork_server import ONE_THREAD, ForkServer
from support.paths import SUPPORT, TESTS
from support.sandbox import environment

SCRIPT = SUPPORT / "start_script.py"
# In bytes: a share of the unplanned peak is another number once a step has been watched.
BUDGET, TIGHTER = "1150KiB", "1050KiB"


class Place:
    """A store and a cache of torch's of their own."""

    def __init__(self, folder: Path, server: ForkServer) -> None:
        self.folder = folder
        self.server = server
        self.store = folder / "store.db"

    def environment(self, **more: str) -> dict[str, str]:
        folders = {"TORCHINDUCTOR_CACHE_DIR": str(self.folder / "torch"), "PYTHONPATH": str(TESTS)}
        return environment(self.store, **ONE_THREAD, **folders, **more)

    def start(self, name: str, budget: str = BUDGET) -> dict[str, Any]:
        """What a process of its own says of a job."""
        done = self.server.run([SCRIPT, name, budget], self.environment(), self.folder)
        assert done.returncode == 0, done.stderr
        return self.said(done.stdout)

    def start_cold(self, name: str, budget: str = BUDGET, **more: str) -> dict[str, Any]:
        """The same of one that imports torch itself."""
        done = subprocess.run(
            [sys.executable, SCRIPT, name, budget],
            env=self.environment(**more),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return self.said(done.stdout)

    @staticmethod
    def said(text: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(text.splitlines()[-1])
        return found

    def entries(self) -> list[Path]:
        """What torch keeps of it."""
        return [p for p in (self.folder / "torch" / "aotautograd").rglob("*") if p.is_file()]

    def records(self) -> list[Path]:
        """What we keep of it."""
        return list(CompileCacheIndex(self.store).folder.iterdir())

    def change(self, change: Callable[[CompileCacheEntry], CompileCacheEntry]) -> None:
        for record in self.records():
            start = msgspec.json.decode(record.read_bytes(), type=CompileCacheEntry)
            record.write_bytes(msgspec.json.encode(change(start)))


@pytest.fixture(scope="module")
def started(
    tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer
) -> tuple[Place, dict[str, Any]]:
    place = Place(tmp_path_factory.mktemp("first"), fork_server)
    return place, place.start("gpt")


@pytest.fixture
def first(started: tuple[Place, dict[str, Any]]) -> dict[str, Any]:
    return started[1]


@pytest.fixture
def place(started: tuple[Place, dict[str, Any]], tmp_path: Path) -> Place:
    """After a first start, as often as wanted."""
    return Place(shutil.copytree(started[0].folder, tmp_path / "again"), started[0].server)


def test_the_first_start_traces_and_recomputes(first: dict[str, Any], place: Place) -> None:
    assert first["hits"] == 0
    assert first["recomputed"] > 0
    assert len(place.entries()) == len(place.records()) == 1
    assert first["bits"] == place.start("gpt", "none")["bits"]


def check_second(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert (second["hits"], second["traced"]) == (1, 0)
    assert second["bits"] == first["bits"]
    assert second["recomputed"] == first["recomputed"]
    [[predicted, measured]] = second["peaks"]
    assert measured == pytest.approx(predicted, rel=0.02)


@pytest.mark.promise("second-start")
def test_a_second_start_does_not_trace(first: dict[str, Any], place: Place) -> None:
    check_second(first, place.start("gpt"))


@pytest.mark.promise("second-start")
@pytest.mark.nightly
def test_a_second_cold_start_does_not_trace(tmp_path: Path, fork_server: ForkServer) -> None:
    place = Place(tmp_path, fork_server)
    check_second(place.start_cold("gpt"), place.start_cold("gpt"))


@pytest.mark.parametrize(
    ("name", "budget"),
    [pytest.param("resnet", "1055KiB", marks=pytest.mark.nightly), ("buffer", "100%")],
)
def test_batch_norm_and_buffers_out_of_the_cache(
    name: str, budget: str, tmp_path: Path, fork_server: ForkServer
) -> None:
    place = Place(tmp_path, fork_server)
    first, second = place.start(name, budget), place.start(name, budget)
    assert (second["hits"], second["traced"]) == (1, 0)
    assert first["bits"] == second["bits"] == place.start(name, "none")["bits"]


@pytest.mark.promise("second-start-miss")
def test_another_budget_has_another_plan_and_is_traced(first: dict[str, Any], place: Place) -> None:
    other = place.start("gpt", TIGHTER)
    assert other["hits"] == 0
    assert other["plans"] != first["plans"]
    assert other["bits"] == first["bits"]
    again = place.start("gpt", TIGHTER)
    assert again["hits"] == 1
    assert again["plans"] == other["plans"]
    assert again["bits"] == first["bits"]


@pytest.mark.promise("second-start-damage")
def test_a_damaged_entry_is_traced(first: dict[str, Any], place: Place) -> None:
    for entry in place.entries():
        data = bytearray(entry.read_bytes())
        data[len(data) // 3 : len(data) // 3 + 3] = b"???"
        entry.write_bytes(data[: len(data) // 2])
    second = place.start("gpt")
    assert second["hits"] == 0
    assert second["bits"] == first["bits"]


@pytest.mark.promise("second-start-damage")
def test_a_damaged_record_is_traced(first: dict[str, Any], place: Place) -> None:
    for record in place.records():
        record.write_bytes(record.read_bytes()[:-9])
    second = place.start("gpt")
    assert second["hits"] == 0
    assert second["bits"] == first["bits"]


def start_of(place: Place) -> CompileCacheEntry:
    (record,) = place.records()
    return msgspec.json.decode(record.read_bytes(), type=CompileCacheEntry)


def swapped(start: CompileCacheEntry) -> CompileCacheEntry:
    tokens = dict(zip(start.tokens, reversed(start.tokens.values()), strict=True))
    return msgspec.structs.replace(start, tokens=tokens)


def test_an_entry_of_another_plan_is_refused(first: dict[str, Any], place: Place) -> None:
    """A record that gives a plan the token of another, whatever made it."""
    other = place.start("gpt", TIGHTER)
    assert other["recomputed"] != first["recomputed"]
    assert len(start_of(place).tokens) == 2
    place.change(swapped)
    second = place.start("gpt", TIGHTER)
    assert second["hits"] == 0
    assert second["recomputed"] == other["recomputed"]
    assert second["bits"] == first["bits"]


@pytest.mark.nightly
def test_another_captured_graph_is_refused(first: dict[str, Any], place: Place) -> None:
    place.change(lambda s: msgspec.structs.replace(s, captured="sha256:" + 64 * "0"))
    second = place.start("gpt")
    assert second["hits"] == 0
    assert second["bits"] == first["bits"]


@pytest.mark.nightly
def test_the_cache_can_be_switched_off(first: dict[str, Any], place: Place) -> None:
    # torch reads this when it is imported.
    second = place.start_cold("gpt", TORCHINDUCTOR_AUTOGRAD_CACHE="0")
    assert second["hits"] == 0
    assert second["bits"] == first["bits"]


@pytest.mark.nightly
def test_a_store_that_is_gone(first: dict[str, Any], place: Place) -> None:
    for file in place.folder.glob("store.db*"):
        if file.is_file():
            file.unlink()
    second = place.start("gpt")
    assert second["hits"] == 0
    assert second["bits"] == first["bits"]
