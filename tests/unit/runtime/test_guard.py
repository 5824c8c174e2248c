"""The guard: what is said of a measured peak, and the margin it leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastsa.cache.store import Store
from fastsa.runtime.decision import Decision
from fastsa.runtime.guard import Guard
from support import builders

MIB = 1 << 20
GRAPH = builders.graph()


def decision(**more: Any) -> Decision:
    """100 MiB of 120 are predicted, 20 of them resident."""
    values: dict[str, Any] = {
        "plan": builders.plan(GRAPH, peak=80 * MIB),
        "plan_id": None,
        "origin": "made",
        "graph": GRAPH,
        "device": builders.DEVICE,
        "versions": {},
        "process_budget_bytes": 120 * MIB,
        "resident_bytes": 20 * MIB,
        "unplanned_peak_bytes": 200 * MIB,
        "unplanned_step_seconds": 1.0,
        "profiled": False,
        "timed": False,
        "model": "net",
        "shape": "",
    }
    return Decision(**(values | more))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def margin(place: Path) -> int:
    with Store.open(place) as store:
        found = store.margin(GRAPH.hash(), builders.DEVICE)
    return found.bytes // MIB if found else 0


def test_as_predicted(place: Path) -> None:
    assert Guard(place).measured([decision()], 102 * MIB) is None
    assert margin(place) == 0


@pytest.mark.promise("peak-warning")
def test_above_the_prediction(place: Path) -> None:
    said = Guard(place).measured([decision()], 110 * MIB)
    assert said == (
        "the measured peak, 110.00 MiB, is 10.00 MiB above the predicted one: the next start keeps "
        "10.00 MiB free; record a profile of this job"
    )
    assert margin(place) == 10


def test_above_the_budget(place: Path) -> None:
    said = Guard(place).measured([decision()], 130 * MIB)
    assert said
    assert "30.00 MiB above the predicted one and above the budget of 120.00 MiB" in said
    assert margin(place) == 30


def test_within_the_margin(place: Path) -> None:
    """It was told of once."""
    assert Guard(place).measured([decision(margin_bytes=10 * MIB)], 110 * MIB) is None


def test_a_margin_that_was_not_kept(place: Path) -> None:
    assert Guard(place).measured([decision(unkept_margin_bytes=10 * MIB)], 110 * MIB)


def test_half_of_the_step_s_budget_at_most(place: Path) -> None:
    Guard(place).measured([decision()], 1000 * MIB)
    assert margin(place) == 50


@pytest.mark.parametrize("count", [1, 2])
def test_no_margin(place: Path, count: int) -> None:
    """For a step that was recorded as it was, or of several plans."""
    said = Guard(place).measured([decision()] * count, 110 * MIB, is_recorded=count == 1)
    assert said
    assert ("plans the step as it was recorded" in said) == (count == 1)
    assert margin(place) == 0


def test_the_run_that_set_it(place: Path) -> None:
    guard = Guard(place)
    guard.measured([decision()], 110 * MIB)
    with Store.open(place) as store:
        guard.ran(store, "0" * 64)
        found = store.margin(GRAPH.hash(), builders.DEVICE)
    assert found
    assert (found.bytes, found.run) == (10 * MIB, "0" * 64)


def test_no_store() -> None:
    said = Guard(Path("/dev/null/store.db")).measured([decision()], 110 * MIB)
    assert said
    assert said.endswith("above the predicted one: record a profile of this job")
