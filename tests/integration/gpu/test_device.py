"""NVML, CuPy, fragmentation and running out of memory, on a real device."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from fastsa.capture.minimum_budget import ModelCall, minimum_budget
from fastsa.instrumentation.allocators.cupy import CupyAllocator, share_pool
from fastsa.instrumentation.allocators.cupy import live_bytes as cupy_bytes
from fastsa.instrumentation.allocators.events import net, peak_delta
from fastsa.instrumentation.nvml import watch
from fastsa.instrumentation.storages import live_bytes
from fastsa.profiler.fragmentation import fragmentation
from fastsa.profiler.out_of_memory import (
    describe,
    is_out_of_memory,
    requested_bytes,
    snapshot,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

MIB = 2**20
DEVICE = torch.device("cuda")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    yield


class TestNvml:
    def test_samples(self) -> None:
        pytest.importorskip("pynvml")
        with watch(DEVICE) as seen:
            held = torch.zeros(256 * MIB, dtype=torch.uint8, device=DEVICE)
            torch.cuda.synchronize()
            time.sleep(0.3)
        assert seen.use, seen.missing
        assert seen.use.name in torch.cuda.get_device_name(DEVICE)
        assert seen.use.total_bytes >= torch.cuda.mem_get_info(DEVICE)[1]
        assert len(seen.use.samples) >= 4
        last = seen.use.samples[-1]
        assert last.allocator_bytes == torch.cuda.memory_reserved(DEVICE)
        assert last.used_bytes >= last.allocator_bytes >= 256 * MIB
        if last.process_bytes is not None:  # a container may hide it
            assert seen.use.beyond_bytes
            assert seen.use.beyond_bytes > 0
        del held


class TestFragmentation:
    def test_equals_the_counters(self) -> None:
        blocks = [torch.empty(30 * MIB, dtype=torch.uint8, device=DEVICE) for _ in range(6)]
        del blocks[::2]
        found = fragmentation(DEVICE)
        assert found
        assert found.reserved_bytes == torch.cuda.memory_reserved(DEVICE)
        assert found.allocated_bytes == torch.cuda.memory_allocated(DEVICE)
        assert found.largest_free_bytes >= 30 * MIB
        assert found.free_blocks >= 3


class TestCupy:
    @pytest.fixture(autouse=True)
    def cupy(self) -> Iterator[None]:
        self.cp = pytest.importorskip("cupy")
        self.cp.get_default_memory_pool().free_all_blocks()
        yield

    def test_events_equal_the_pool(self) -> None:
        pool = self.cp.get_default_memory_pool()
        before = pool.used_bytes()
        with CupyAllocator(DEVICE) as allocator:
            kept = [self.cp.zeros(1000 * i, dtype="float32") for i in range(1, 20)]
            del kept[::2]
        assert net(allocator.events) == pool.used_bytes() - before > 0
        assert peak_delta(allocator.events) > net(allocator.events)
        assert all(e.source and __file__ in e.source for e in allocator.events if e.bytes > 0)

    def test_another_thread_joins(self) -> None:
        def work() -> None:
            allocator.join()
            self.cp.zeros(1000)

        with CupyAllocator(DEVICE) as allocator:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        assert len(allocator.events) >= 2

    def test_counts_as_live(self) -> None:
        before = live_bytes(DEVICE)
        held = self.cp.zeros(64 * MIB, dtype="uint8")
        assert live_bytes(DEVICE) - before == 64 * MIB == cupy_bytes(DEVICE)
        del held

    def test_on_torchs_pool(self) -> None:
        allocator, before = self.cp.cuda.get_allocator(), torch.cuda.memory_allocated(DEVICE)
        with share_pool():
            held = self.cp.arange(16 * MIB, dtype="uint8")
            assert torch.cuda.memory_allocated(DEVICE) - before == 16 * MIB
            assert cupy_bytes(DEVICE) == 0
            assert int(held[300]) == 300 % 256
        assert self.cp.cuda.get_allocator() == allocator
        del held  # released to the pool it came from, after the end
        assert torch.cuda.memory_allocated(DEVICE) == before


class TestOutOfMemory:
    def test_snapshot_and_minimum(self) -> None:
        model = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(4))).cuda()
        _, total = torch.cuda.mem_get_info(DEVICE)
        x = torch.zeros(4096, 1024, device=DEVICE)
        y = model(x)
        with pytest.raises(torch.OutOfMemoryError) as caught:
            torch.empty(2 * total, dtype=torch.uint8, device=DEVICE)
        assert is_out_of_memory(caught.value)
        asked = requested_bytes(describe(caught.value))
        assert asked
        assert abs(asked / (2 * total) - 1) < 0.01
        seen = snapshot(DEVICE, caught.value)
        assert seen.peak_bytes == live_bytes(DEVICE)
        assert any(seen.site(block).category == "activation" for block in seen.allocations)
        before = torch.cuda.memory_allocated(DEVICE)
        found = minimum_budget(model, ModelCall.of([x], {}), 0)
        assert found.bytes, found.missing
        assert torch.cuda.memory_allocated(DEVICE) == before
        del y
