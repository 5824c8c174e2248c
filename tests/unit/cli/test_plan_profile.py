"""`fastsa plan PROFILE_ID`: the budget is of the whole process, the plan is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastsa.cache.store import Store
from fastsa.planner.graph import Graph
from fastsa.planner.validation import validate
from fastsa.records.profile import MeasuredRegion, Profile
from fastsa.records.timeline import Timeline
from support.commands import Fastsa
from support.planner_graphs import chain

RESIDENT, PEAK = 1000, 1200


def profile(*graphs: Graph) -> Profile:
    return Profile(
        schema="fastsa.profile/2",
        created="2026-01-02T03:04:05+00:00",
        script="train.py",
        arguments=(),
        model="Net",
        parameters=1,
        shape="float32[1]",
        device="Test Device",
        versions={"torch": "2.13.0", "cuda": "none"},
        resident_bytes=RESIDENT,
        peak_bytes=PEAK,
        step_seconds=1.0,
        timeline=Timeline(0, RESIDENT, PEAK, 0, 0.0, (), ()),
        saved=(),
        regions=tuple(MeasuredRegion(graph.hash(), graph) for graph in graphs),
    )


def stored(path: Path, *graphs: Graph) -> str:
    with Store.open(path) as store:
        return store.add_profile(profile(*graphs))


@pytest.fixture
def run(fastsa: Fastsa) -> Fastsa:
    return lambda *arguments: fastsa("plan", *map(str, arguments))


@pytest.mark.parametrize(("budget", "local"), [("1100", 100), ("90%", 80)])
def test_a_profile_is_planned_and_the_plan_stored(
    run: Fastsa, place: Path, budget: str, local: int
) -> None:
    graph = chain(20)
    identity = stored(place, graph)
    done = run(identity[:10], "--budget", budget, "--iterations", 20_000)
    assert done.returncode == 0, done.stderr
    assert "resident" in done.stdout
    plan_id = done.stderr.split()[-1]
    with Store.open(place) as store:
        found = store.stored_plan(store.resolve(plan_id).id)
    assert found.plan.step_budget_bytes == local
    assert (found.key.device, found.key.torch, found.key.cuda) == ("Test Device", "2.13.0", None)
    validate(graph, found.plan)


def test_a_budget_below_what_is_resident_is_infeasible(run: Fastsa, place: Path) -> None:
    identity = stored(place, chain(20))
    done = run(identity, "--budget", "50%")
    assert done.returncode == 3
    assert "infeasible" in done.stdout


def test_several_regions_are_refused_with_the_way_out(run: Fastsa, place: Path) -> None:
    identity = stored(place, chain(3), chain(4))
    done = run(identity, "--budget", "90%")
    assert done.returncode == 2
    assert "fastsa export" in done.stderr


def test_no_such_profile(run: Fastsa, place: Path) -> None:
    stored(place, chain(3))
    done = run("ffffffffff", "--budget", "90%")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
