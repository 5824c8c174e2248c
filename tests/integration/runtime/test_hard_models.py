"""Models that make a recomputation read something else than the first run did, under plans."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from fastsa.capture.region import Region
from fastsa.errors import CaptureFailed
from support.compiled import WithPlan, same, unplanned
from support.hard_models import HARD, Hard, HardCase
from support.random_plans import random_plan


def train(case: HardCase, region: Region) -> list[Tensor]:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Hard(case.forward, case.layers)
    region.compile(model) if isinstance(region, WithPlan) else unplanned(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    trace: list[Tensor] = []
    for step in range(2):
        torch.manual_seed(step)
        optimizer.zero_grad()
        loss = case.step(model, step)
        loss.backward()
        trace += [loss.detach(), torch.rand(3)]
        trace += [p.grad.clone() for p in model.parameters() if p.grad is not None]
        trace += [buffer.clone() for buffer in model.buffers()]
        optimizer.step()
    return trace


def randomly(seed: int, forget: float) -> WithPlan:
    return WithPlan(lambda c: random_plan(c.graph, random.Random(seed), forget=forget))


@pytest.mark.promise("never-recomputed", "same-bits")
@pytest.mark.nightly  # one plan of each kind: test_zoo
@pytest.mark.parametrize("name", HARD)
def test_any_legal_plan_equals_no_plan(name: str) -> None:
    wanted = train(HARD[name], Region())
    for seed, forget in ((0, 0.3), (1, 0.8), (2, 0.8)):
        region = randomly(seed, forget)
        assert same(train(HARD[name], region), wanted)
        assert region.plans


@pytest.mark.promise("fails-capture")
def test_a_number_taken_from_a_tensor_is_not_planned() -> None:
    """It has no storage a plan could order by."""

    def reads(m: Hard, x: Tensor) -> object:
        count = m.state.sum().int().item()
        return m.b(m.a(x).relu() * count)

    with (
        torch._dynamo.config.patch(capture_scalar_outputs=True),
        pytest.raises(Exception) as caught,
    ):
        train(HardCase(reads), randomly(0, 0.3))
    causes = [caught.value, caught.value.__cause__, getattr(caught.value, "inner_exception", None)]
    assert any(isinstance(cause, CaptureFailed) for cause in causes)
