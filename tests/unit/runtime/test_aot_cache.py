"""What is never looked up in torch's cache of compiled graphs."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
)

from fastsa.runtime.aot_cache import program_key, usable


@pytest.fixture
def graph() -> fx.GraphModule:
    return fx.symbolic_trace(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))


@pytest.mark.promise("traced-always")
def test_symbolic_shapes(graph: fx.GraphModule) -> None:
    mode = FakeTensorMode(shape_env=ShapeEnv())
    fixed = torch.zeros(3, 4)
    rows = StatelessSymbolicContext([DimDynamic.DYNAMIC, DimDynamic.STATIC])
    dynamic = mode.from_tensor(fixed, symbolic_context=rows)
    assert program_key(graph, [fixed]) is not None
    static = mode.from_tensor(torch.zeros(3, 4), static_shapes=True)
    assert program_key(graph, [static]) is not None
    assert program_key(graph, [dynamic]) is None


def test_sizes_and_types_are_in_the_key(graph: fx.GraphModule) -> None:
    tensors = (torch.zeros(3, 4), torch.zeros(4, 4), torch.zeros(3, 4, dtype=torch.bfloat16))
    assert len({program_key(graph, [each]) for each in tensors}) == 3
    assert program_key(graph, [torch.ones(3, 4)]) == program_key(graph, [torch.zeros(3, 4)])


@pytest.mark.promise("traced-always")
def test_several_ranks_and_evaluation() -> None:
    assert usable()
    with torch.no_grad():
        assert not usable()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        assert not usable()
    finally:
        dist.destroy_process_group()
