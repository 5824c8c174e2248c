"""What only a GPU can show: the caching allocator's history, and planned peaks on the device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from train_gpt import GPT

from fastsa.instrumentation.allocators.cuda import CudaAllocator
from fastsa.instrumentation.allocators.events import net, peak_delta

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

STEPS = 6


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    torch.cuda.empty_cache()
    yield


def make() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    ids = torch.randint(0, 100, (8, 257), device="cuda")
    return GPT(4, 256, 8, 256, 0.1).cuda(), ids[:, :-1], ids[:, 1:]


def test_history_equals_the_allocator_to_the_byte() -> None:
    device = torch.device("cuda")
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with CudaAllocator(device) as allocator:
        kept = [torch.randn(1000 * i, device="cuda").relu() for i in range(1, 20)]
        del kept[::2]
    assert net(allocator.events) == torch.cuda.memory_allocated() - before
    assert peak_delta(allocator.events) == torch.cuda.max_memory_allocated() - before


def test_planned_peak_and_gradients(tmp_path: Path) -> None:
    """At 60% the device never allocates more than planned, and every gradient bit is the same."""
    from fastsa.runtime import dynamo_backend as module

    torch.use_deterministic_algorithms(True, warn_only=True)
    gradients = []
    for planned in (False, True):
        model, ids, targets = make()
        if planned:
            options = {"budget": "60%", "store": tmp_path / "store.db"}
            model.compile(backend="fastsa", options=options)
        optimizer = torch.optim.AdamW(model.parameters())
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.manual_seed(1)
            model(ids, targets)[1].backward()
            gradients.append([p.grad.clone() for p in model.parameters()])
            optimizer.step()
        del model, optimizer
    torch.use_deterministic_algorithms(False)
    for plain, again in zip(gradients[:STEPS], gradients[STEPS:], strict=True):
        assert all(map(torch.equal, plain, again))
    (job,) = module._jobs.values()
    assert job.watch is not None
    decision = job.decisions.first
    measured, predicted = job.watch.check.peak_bytes, decision.predicted_peak_bytes
    assert measured is not None
    assert measured <= decision.process_budget_bytes
    assert abs(measured / predicted - 1) < 0.05
