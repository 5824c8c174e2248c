"""A store that lies about what may run twice: a job trains to the same bits all the same."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor

from fastsa.cache.keys import PlanKey, bare
from fastsa.cache.store import Store
from fastsa.errors import FastsaWarning
from fastsa.instrumentation.device import device_name, versions
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.planner.search import PLANNER_VERSION
from fastsa.runtime import decisions
from fastsa.runtime.dynamo_backend import _jobs, backend
from support.hard_models import Hard, add_noise, batch
from support.random_plans import random_plan

CPU = torch.device("cpu")


def noisy(model: Hard, x: Tensor) -> Tensor:
    """No plan may run the noise again: it would be another noise."""
    hidden = model.a(x)
    add_noise(hidden)
    return model.b(hidden.sin().exp())


def gradients(store: Path, seed: int) -> list[Tensor]:
    """Those of two steps of a job of its own."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Hard(noisy, {})
    options = {"budget": "1GiB", "store": store, "seed": seed, "time_limit": 0.2}
    compiled = torch.compile(model, backend="fastsa", options=options)
    for step in range(2):
        compiled(batch(step)).square().mean().backward()
    for each in _jobs.values():
        each.close()
    return [p.grad for p in model.parameters() if p.grad is not None]


def lying(graph: Graph) -> Graph:
    """The same, but everything may run again."""
    outside = {i for i, segment in enumerate(graph.segments) if segment.name == "eager"}
    ops = [
        op if op.segment in outside else msgspec.structs.replace(op, recomputable=True)
        for op in graph.ops
    ]
    return msgspec.structs.replace(graph, ops=tuple(ops))


def illegal(graph: Graph, lie: Graph) -> Plan:
    """A plan that is legal for the lie alone."""
    noise = {op.id for op in graph.ops if not op.recomputable}
    for seed in range(100):
        plan = random_plan(lie, random.Random(seed), forget=0.9)
        if any(plan.sequence.count(op) > 1 for op in noise):
            return plan
    raise AssertionError("nothing is run again")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Tensor]:
    return gradients(tmp_path_factory.mktemp("honest") / "store.db", seed=1)


@pytest.fixture(scope="module")
def lie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose latest graph says that noise may be made again, and a plan that does."""
    path = tmp_path_factory.mktemp("lie") / "store.db"
    gradients(path, seed=0)
    with Store.open(path) as store:
        hashes = [(h, c) for h, c in store.graph_hashes() if c is not None]
        assert hashes
        for name, captured in hashes:
            graph = store.known_graph(name)
            lie = lying(graph)
            store.add_graph(lie, captured)
            key = PlanKey.of(
                bare(lie.hash()),
                device=device_name(CPU),
                versions=versions(),
                planner=PLANNER_VERSION,
            )
            store.add_plan(illegal(graph, lie), key)
        with_steps = [h for h, c in store.graph_hashes() if c is None]
        for name in with_steps:  # so that the lie is what is found
            store.remove(store.resolve(name))
    return path


@pytest.fixture
def lied_to(lie: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lie.parent, tmp_path / "lie")) / lie.name


@pytest.mark.promise("fault-33")
def test_what_may_run_twice_is_seen_in_the_model(lied_to: Path, expected: list[Tensor]) -> None:
    with pytest.warns(FastsaWarning, match="trains unplanned: .* may not run twice"):
        found = gradients(lied_to, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_the_lie_would_be_noticed(
    lied_to: Path, expected: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is above is no accident: without the look at the model the bits are others."""
    monkeypatch.setattr(decisions, "validate_order", lambda graph, order: None)
    found = gradients(lied_to, seed=4)
    assert not all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_the_entry_point_is_no_module() -> None:
    """A module of its name would take its place once it is imported."""
    assert callable(backend)
