"""Collectives in a captured graph: once, in order, under any plan; what data parallelism wraps."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as fc
from torch import Tensor, fx, nn
from torch._dynamo import config as dynamo_config
from torch.nn.parallel import DistributedDataParallel

from fastsa.capture.data_parallel import computed, in_one_piece, is_sharded
from fastsa.capture.joint_graph import Capture, capture
from fastsa.capture.op_timing import measure
from fastsa.capture.region import Modules, Region, compile_region
from fastsa.instrumentation.rank_store import find_rank_store
from fastsa.runtime.partition import partition
from support.random_plans import random_plan


class Talkative(nn.Module):
    """Gathers and scatters through autograd, after each of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        group = dist.group.WORLD
        for layer in self.layers:
            x = layer(x).tanh()
            still = x.detach()  # two that do not depend on each other
            x = x - fc.all_reduce(still.mean(0), "sum", group)
            x = x * fc.all_reduce(still.amax(0), "sum", group)
            x = fc.all_gather_tensor_autograd(x.exp(), 0, group).sin()
            x = fc.reduce_scatter_tensor_autograd(x, "sum", 0, group).cos()
        return x.square().mean()


class RandomOrder(Region):
    """Runs in a random order that makes again what it may."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.captured: list[Capture] = []
        self.modules: list[fx.GraphModule] = []

    def partition(self, joint: fx.GraphModule, num_fwd_outputs: int) -> Modules:
        found = capture(joint, num_fwd_outputs, name="m", device_name="cpu")
        self.captured.append(found)
        modules = partition(found, random_plan(found.graph, random.Random(self.seed), forget=0.9))
        self.modules += modules
        return modules


@pytest.fixture
def one_rank() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    torch._dynamo.reset()
    dist.destroy_process_group()


def trained(region: Region | None) -> list[Tensor]:
    torch.manual_seed(0)
    model = Talkative()
    if region is not None:
        model.compile(backend=lambda gm, inputs: compile_region(region, gm, inputs))
    loss = model(torch.randn(6, 8))
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def talk(module: fx.GraphModule) -> list[str]:
    """The collectives of a module, in the order in which they run."""
    return [str(n.target) for n in module.graph.nodes if "c10d" in str(n.target)]


@pytest.mark.promise("never-recomputed", "exact-order")
@pytest.mark.parametrize("seed", range(4))
def test_once_and_in_order_under_any_plan(one_rank: None, seed: int) -> None:
    region, unplanned = RandomOrder(seed), trained(None)
    for planned, wanted in zip(trained(region), unplanned, strict=True):
        assert torch.equal(planned, wanted)
    (found,) = region.captured
    forward, backward = region.modules
    as_captured = [op.target for op in found.graph.ops if "c10d" in op.target]
    assert len(as_captured) >= 16
    assert not any(op.recomputable for op in found.graph.ops if "c10d" in op.target)
    assert talk(forward) + talk(backward) == as_captured


def test_none_runs_to_be_measured(one_rank: None) -> None:
    """Alone, a rank would wait for the others."""
    region = RandomOrder(0)
    trained(region)
    group = dist.group.WORLD
    assert group is not None
    before = group._get_sequence_number_for_group()
    measure(region.captured[0])
    assert group._get_sequence_number_for_group() == before
    dist.barrier()
    assert group._get_sequence_number_for_group() > before  # it counts


def test_what_data_parallelism_wraps(one_rank: None) -> None:
    model = nn.Linear(4, 4)
    wrapped = DistributedDataParallel(model)
    assert computed(wrapped) is computed(model) is model
    assert not is_sharded(wrapped)
    with in_one_piece(model):
        assert dynamo_config.optimize_ddp
    with in_one_piece(wrapped):
        assert not dynamo_config.optimize_ddp
    assert dynamo_config.optimize_ddp


def test_a_rank_that_is_alone_has_no_store(one_rank: None) -> None:
    assert find_rank_store("job") is None
