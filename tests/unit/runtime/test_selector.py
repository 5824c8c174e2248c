"""Which plan a graph gets: a stored one, or one that is made now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fastsa.cache.store import Store
from fastsa.errors import InfeasibleBudget
from fastsa.planner.budget import parse
from fastsa.runtime.decision import Decision
from fastsa.runtime.plan_request import PlanRequest
from fastsa.runtime.selector import CLOSE_ENOUGH, base_plan, decide
from fastsa.runtime.settings import Settings
from support.planner_graphs import real

RESIDENT = 1 << 20
GRAPH = real("resnet18")
BASE = base_plan(GRAPH)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db") as opened:
        yield opened


def decided(store: Store | None, budget: int, **options: object) -> Decision:
    """What a job with a budget (bytes of the graph alone) gets."""
    settings = Settings(
        budget=parse(str(RESIDENT + budget)),
        time_limit=0.2,
        **options,  # type: ignore[arg-type]
    )
    what = PlanRequest(
        graph=GRAPH, resident_bytes=RESIDENT, device=torch.device("cpu"), model="m", shape="s"
    )
    return decide(what, settings, store)


def share(of_peak: float) -> int:
    return int(of_peak * BASE.peak_bytes)


def test_made_then_found(store: Store) -> None:
    first, second = decided(store, share(0.6)), decided(store, share(0.6))
    assert (first.origin, second.origin) == ("made", "found")
    assert first.plan_id == second.plan_id
    assert second.predicted_peak_bytes <= RESIDENT + share(0.6)


@pytest.mark.promise("plan-better")
def test_a_plan_for_a_much_smaller_budget_is_only_a_start(store: Store) -> None:
    tight = decided(store, share(0.5))
    assert tight.plan.status != "optimal"
    wide = decided(store, share(0.8))
    assert wide.origin == "made"
    assert wide.plan.seconds <= tight.plan.seconds
    near = decided(store, int(share(0.5) / CLOSE_ENOUGH) - 1)
    assert (near.origin, near.plan_id) == ("found", tight.plan_id)


@pytest.mark.promise("plan-lookup")
def test_the_fastest_that_fits(store: Store) -> None:
    decided(store, share(0.5))
    wide = decided(store, share(0.8))
    assert decided(store, share(0.8)).plan_id == wide.plan_id
    below = decided(store, share(0.7))
    assert below.plan_id != wide.plan_id
    assert below.predicted_peak_bytes <= RESIDENT + share(0.7)


def test_no_recomputation_where_none_is_needed() -> None:
    whole = decided(None, BASE.peak_bytes)
    assert (whole.plan.status, whole.plan.extra_seconds) == ("optimal", 0.0)
    assert whole.plan_id is None


@pytest.mark.promise("infeasible")
def test_a_budget_that_no_plan_can_meet() -> None:
    with pytest.raises(InfeasibleBudget) as refused:
        decided(None, 1000)
    assert "cannot be met: the minimum is" in refused.value.message
    assert GRAPH.ops[BASE.minimum_budget_op].target in refused.value.message


@pytest.mark.promise("best-effort")
def test_the_lowest_peak_in_its_place() -> None:
    lowest = decided(None, 1000, best_effort=True)
    assert not lowest.plan.fits
    assert lowest.plan.peak_bytes < BASE.peak_bytes
