"""Planned training gives the same bits as the plain script: also through the backend.

Models of more kinds, under plans of more kinds, are in `test_zoo`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import pytest
import torch

from fastsa.capture.joint_graph import Capture
from fastsa.planner.plan import Plan
from support.compiled import Bits, WithPlan, same, train, unplanned
from support.models import CASES
from support.random_plans import random_plan


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@cache
def expected(name: str) -> Bits:
    """What the plain script gives, which the compiled graph without a plan gives too."""
    eager = train(CASES[name], lambda model: None)
    torch._dynamo.reset()
    compiled = train(CASES[name], unplanned)
    torch._dynamo.reset()
    if same(compiled, eager):
        return eager
    # torch 2.11's own compiled graph of the buffer model differs from eager in the last bit.
    assert (name, torch.__version__ < "2.13") == ("buffer", True)
    return compiled


@pytest.mark.promise("same-bits", "backend")
@pytest.mark.parametrize("budget", ["60%", pytest.param("85%", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", CASES)
def test_backend_equals_eager(name: str, budget: str, tmp_path: Path) -> None:
    """Through `torch.compile(backend="fastsa")`, at several budgets, fp32."""
    options = {"budget": budget, "store": tmp_path / "s.db", "time_limit": 0.2, "best_effort": True}
    wanted = expected(name)
    planned = train(CASES[name], lambda model: model.compile(backend="fastsa", options=options))
    assert same(planned, wanted)


@pytest.mark.promise("same-bits", "random-replay")
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (1, 2))]
)
@pytest.mark.parametrize("name", CASES)
def test_any_legal_plan_equals_eager(name: str, seed: int) -> None:
    """Random orders, random forgetting, ops run several times."""
    region = WithPlan(lambda captured: random_plan(captured.graph, random.Random(seed)))
    wanted = expected(name)
    planned = train(CASES[name], region.compile)
    assert any(len(p.sequence) > len(set(p.sequence)) for p in region.plans)
    assert same(planned, wanted)


@pytest.mark.parametrize(
    "name",
    ["resnet", *(pytest.param(n, marks=pytest.mark.nightly) for n in CASES if n != "resnet")],
)
def test_autocast_equals_the_unplanned_compiled_graph(name: str) -> None:
    """Under autocast torch's compiled graph may differ from eager; a plan must not add to it."""
    compiled = train(CASES[name], unplanned, autocast=True)
    torch._dynamo.reset()
    region = WithPlan(lambda captured: random_plan(captured.graph, random.Random(0)))
    planned = train(CASES[name], region.compile, autocast=True)
    assert same(planned, compiled)


@pytest.mark.promise("random-replay")
def test_a_plan_that_forgets_to_replay_would_be_seen() -> None:
    """The comparison is sharp: without replay of dropout the gradients differ."""
    from fastsa.runtime import partition as module

    region = WithPlan(lambda captured: random_plan(captured.graph, random.Random(1)))
    wanted = expected("gpt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "is_random", lambda node: False)
        assert not same(train(CASES["gpt"], region.compile), wanted)


@pytest.mark.promise("never-recomputed")
def test_reading_an_updated_buffer_again_would_be_seen() -> None:
    """The comparison is sharp: recomputing a read of an updated buffer gives other gradients."""

    def reckless(captured: Capture) -> Plan:
        ops = tuple(
            msgspec.structs.replace(op, recomputable=op.recomputable or "copy_" not in op.target)
            for op in captured.graph.ops
        )
        captured.graph = msgspec.structs.replace(captured.graph, ops=ops)
        return random_plan(captured.graph, random.Random(3), forget=0.9)

    assert not same(train(CASES["buffer"], WithPlan(reckless).compile), expected("buffer"))
