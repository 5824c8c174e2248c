"""Capture: what becomes of a traced model, and what of it can be trusted."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from fastsa.capture.joint_graph import BACKWARD, EAGER, FORWARD, Capture
from fastsa.capture.op_timing import measure
from fastsa.instrumentation.storages import live_bytes, optimizers, pending_optimizer_bytes
from fastsa.planner import graph as graphs
from fastsa.planner.graph import Op
from support.capturing import capture_of
from support.models import CASES, BufferReader, TinyGPT, TinyResNet
from support.paths import SUPPORT
from support.random_plans import peak
from support.sandbox import CliSandbox

ADAM, SGD = torch.optim.AdamW, torch.optim.SGD


@pytest.fixture
def nothing_goes_meanwhile() -> Iterator[None]:
    """Garbage of other tests stays where it is: it counts before and after."""
    gc.disable()
    yield
    gc.enable()


@cache
def captured(name: str) -> Capture:
    """The capture of a model; nothing changes it."""
    return capture_of(name)


def named(found: Capture, target: str, segment: int) -> list[Op]:
    return [op for op in found.graph.ops if target in op.target and op.segment == segment]


@pytest.mark.parametrize("name", CASES)
def test_a_captured_graph_is_a_legal_document(name: str) -> None:
    graph = captured(name).graph
    assert graphs.decode(graph.encode()) == graph
    assert {op.segment for op in graph.ops} == {FORWARD, EAGER, BACKWARD}


def test_measured_graph_keeps_structure_and_reports_seconds() -> None:
    found = captured("resnet")
    measured = measure(found)
    graphs.check(measured)
    assert [op.inputs for op in measured.ops] == [op.inputs for op in found.graph.ops]
    assert all(op.seconds > 0 for op in measured.ops if op.segment != EAGER)
    assert measured.device is not None
    assert measured.device["unmeasured"] == 0
    # Equal layers do equal work and get equal numbers.
    convolutions = [op for op in measured.ops if op.target == "aten.convolution.default"]
    assert len({op.seconds for op in convolutions}) < len(convolutions)


def test_measuring_leaves_the_generators_alone() -> None:
    found = captured("gpt")
    torch.manual_seed(7)
    before = torch.get_rng_state()
    measure(found)
    assert torch.equal(torch.get_rng_state(), before)


def test_views_are_folded_and_random_ops_stay_in_order() -> None:
    found = captured("gpt")
    targets = {op.target for op in found.graph.ops}
    assert not targets & {"aten.view.default", "aten.t.default", "aten.transpose.int"}
    draws = named(found, "dropout", FORWARD)
    assert len(draws) > 4
    for earlier, later in pairwise(draws):
        tokens = [v for v in earlier.outputs if found.graph.values[v].bytes == 0]
        assert set(tokens) & set(later.inputs)


def test_what_reads_an_updated_buffer_is_never_run_again() -> None:
    found = captured("buffer")
    writes = named(found, "copy_", FORWARD)
    assert len(writes) == 2
    assert not any(op.recomputable for op in writes)
    readers = {value for op in writes for value in op.inputs}
    producers = [op for op in found.graph.ops if set(op.outputs) & readers]
    assert any(not op.recomputable for op in producers)
    subtractions = named(found, "aten.sub", FORWARD)
    assert not subtractions[0].recomputable  # x - average, before the first update


def test_training_batch_norm_may_run_again_and_evaluation_s_may_not() -> None:
    found = captured("resnet")
    norms = named(found, "batch_norm", FORWARD)
    assert norms
    assert all(op.recomputable for op in norms)


@pytest.mark.usefixtures("nothing_goes_meanwhile")
@pytest.mark.parametrize("make", [TinyGPT, TinyResNet, BufferReader])
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: ADAM(p, lr=1e-3),
        lambda p: ADAM(p, lr=1e-3, amsgrad=True),
        lambda p: SGD(p, lr=1e-3, momentum=0.9),
        lambda p: SGD(p, lr=1e-3),
        lambda p: torch.optim.Adagrad(p, lr=1e-3),
        lambda p: torch.optim.RMSprop(p, lr=1e-3, centered=True),
    ],
)
def test_pending_optimizer_state_is_what_the_first_step_allocates(
    make: Callable[[], nn.Module], optimizer: Callable[..., torch.optim.Optimizer]
) -> None:
    cpu = torch.device("cpu")
    others = pending_optimizer_bytes(cpu)
    model = make()
    made = optimizer(model.parameters())
    assert made in optimizers()
    expected = pending_optimizer_bytes(cpu) - others
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = live_bytes(cpu)
    made.step()
    assert live_bytes(cpu) - before == expected
    assert pending_optimizer_bytes(cpu) == others


class Wrapping(torch.optim.Optimizer):
    """Passes everything on to another optimizer, as Accelerate's does."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        self.optimizer.step()

    def _get(self) -> Any:
        return self.optimizer.param_groups

    def _set(self, groups: Any) -> None:
        self.optimizer.param_groups = groups

    param_groups = property(_get, _set)  # type: ignore[assignment]
    state = property(lambda self: self.optimizer.state)  # type: ignore[assignment]
    defaults = property(lambda self: self.optimizer.defaults)  # type: ignore[assignment]


class Nesting(SGD):
    """Keeps an optimizer beside its own state."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer.param_groups, lr=0.1)
        self.base = [optimizer]

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        self.base[0].step()


@pytest.mark.usefixtures("nothing_goes_meanwhile")
@pytest.mark.parametrize("wrapper", [Wrapping, Nesting])
def test_the_estimate_leaves_what_an_optimizer_wraps_alone(
    wrapper: Callable[[torch.optim.Optimizer], torch.optim.Optimizer],
) -> None:
    cpu = torch.device("cpu")
    others = pending_optimizer_bytes(cpu)
    parameter = nn.Parameter(torch.ones(64))
    inner = ADAM([parameter], lr=1e-3)
    outer = wrapper(inner)
    assert outer in optimizers()
    # Adam's two tensors and its count of steps, once.
    assert pending_optimizer_bytes(cpu) - others == 2 * 64 * 4 + 4
    assert inner.param_groups[0]["params"] == [parameter]
    assert not inner.state
    parameter.grad = torch.ones(64)
    outer.step()
    assert not torch.equal(parameter, torch.ones(64))


@pytest.mark.nightly
def test_the_capture_hash_is_the_same_in_another_process(sandbox: CliSandbox) -> None:
    """What a job looks its plan up by."""
    done = sandbox.start(SUPPORT / "capturing.py", "gpt").done()
    assert done.stdout.strip() == captured("gpt").graph.hash(), done.stderr


def test_the_capture_hash_is_the_same_again() -> None:
    assert capture_of("resnet").graph.hash() == captured("resnet").graph.hash()


def test_another_size_is_another_hash() -> None:
    assert captured("gpt").graph.hash() != captured("resnet").graph.hash()


def test_the_unplanned_peak_counts_every_value() -> None:
    graph = captured("gpt without dropout").graph
    assert peak(graph, [op.id for op in graph.ops]) <= sum(v.bytes for v in graph.values)
