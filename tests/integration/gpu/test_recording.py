"""The recorded step on a real device: it must add up to what the caching allocator says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from train_gpt import GPT

import fastsa
from fastsa.profiler.snapshot import read
from fastsa.records.profile import Profile

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


class Training:
    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net = GPT(4, 256, 8, 256, 0.1).cuda()
        self.optimizer = torch.optim.AdamW(self.net.parameters())
        self.ids = torch.randint(0, 100, (8, 257), device="cuda")

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.net(self.ids[:, :-1], self.ids[:, 1:])[1].backward()
        self.optimizer.step()


def alive(profile: Profile) -> int:
    return sum(each.bytes for each in profile.timeline.alive_at(profile.timeline.peak_event))


def test_the_timeline_is_the_allocator_s_to_the_byte() -> None:
    training = Training()
    training.step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    with fastsa.profile(training.net) as p:
        training.step()
        torch.cuda.synchronize()
    measured = torch.cuda.max_memory_allocated()
    assert alive(p.profile) == p.peak == p.profile.allocator_peak_bytes == measured


def test_what_is_known_of_it() -> None:
    training = Training()
    training.step()
    with fastsa.profile(training.net) as p:
        training.step()
    categories = {site.category for site in p.profile.timeline.sites}
    assert {"parameter", "optimizer", "gradient", "activation", "temporary"} <= categories
    kept = [site for site in p.profile.timeline.sites if site.category == "activation"]
    assert all(site.node and site.module and site.source for site in kept)
    assert any(saved.used_seconds is not None for saved in p.profile.saved)
    assert 0 < sum(each.seconds for each in p.profile.ops) < 2 * p.profile.timeline.seconds
    assert {each.phase for each in p.profile.ops} >= {"forward", "backward", "optimizer"}


def test_a_snapshot_of_torch_s_own_has_the_same_peak(tmp_path: Path) -> None:
    training = Training()
    training.step()
    torch.cuda.memory._record_memory_history(stacks="python")
    torch.cuda.reset_peak_memory_stats()
    training.step()
    file = tmp_path / "snapshot.pickle"
    torch.cuda.memory._dump_snapshot(str(file))
    torch.cuda.memory._record_memory_history(None)
    imported = read(file)
    peak = torch.cuda.max_memory_allocated()
    assert abs(imported.peak_bytes - peak) <= 0.01 * peak
