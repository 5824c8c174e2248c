"""Running out of memory: which errors say so, what they asked for, and what is alive."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fastsa.profiler.out_of_memory import (
    describe,
    is_out_of_memory,
    origin,
    requested_bytes,
    snapshot,
)
from fastsa.records.timeline import Timeline

CPU = torch.device("cpu")
PETABYTE = 1 << 50
GIB = 2**30


def failing_allocation() -> Tensor:
    return torch.empty(PETABYTE, dtype=torch.uint8)


def error_of(action: Any) -> Exception:
    try:
        action()
    except RuntimeError as error:
        return error
    raise AssertionError("nothing was raised")


CUDA = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB of "
    "which 1.02 GiB is free."
)
CUPY = "Out of memory allocating 8,589,934,592 bytes (allocated so far: 512 bytes)."
QUOTED = (
    "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback\nRuntimeError: "
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes."
)


class TestErrors:
    def test_cpu(self) -> None:
        error = error_of(failing_allocation)
        assert is_out_of_memory(error)
        assert requested_bytes(describe(error)) == PETABYTE

    @pytest.mark.parametrize(
        ("error", "size"),
        [
            (torch.OutOfMemoryError(CUDA), 5 * GIB // 2),
            (torch.OutOfMemoryError("Tried to allocate 512 bytes."), 512),
            (MemoryError(CUPY), 8 * GIB),
            (MemoryError(), None),
            (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might"), None),
            (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublas"), None),
        ],
        ids=["cuda", "few bytes", "cupy", "python", "driver", "cublas"],
    )
    def test_others(self, error: Exception, size: int | None) -> None:
        assert is_out_of_memory(error)
        assert requested_bytes(describe(error)) == size

    def test_cupys_own(self) -> None:
        cupy = pytest.importorskip("cupy")
        error = cupy.cuda.memory.OutOfMemoryError(3 * GIB, 512, 0)
        assert is_out_of_memory(error)
        assert requested_bytes(describe(error)) == 3 * GIB

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("mine"),
            ValueError("DefaultCPUAllocator: can't allocate memory"),
            RuntimeError(QUOTED),
            error_of(lambda: torch.empty(1 << 62, dtype=torch.float64)),
            KeyboardInterrupt(),
        ],
        ids=["any", "quoted", "of a worker", "size too large", "interrupted"],
    )
    def test_none(self, error: BaseException) -> None:
        assert not is_out_of_memory(error)
        assert origin(error) is None


class TestOrigin:
    """Whether a script ends by it: if Python's traceback would show it."""

    def raised(self, *, chained: str, ending: BaseException) -> BaseException:
        with contextlib.suppress(type(ending)):
            try:
                failing_allocation()
            except RuntimeError as error:
                if chained == "from":
                    raise ending from error
                if chained == "from none":
                    raise ending from None
                raise ending  # noqa: B904  what scripts do
        return ending

    @pytest.mark.parametrize("chained", ["from", "while handling"])
    @pytest.mark.parametrize(
        "ending", [ValueError("x"), SystemExit(1), SystemExit("words")], ids=repr
    )
    def test_shown(self, chained: str, ending: BaseException) -> None:
        found = origin(self.raised(chained=chained, ending=ending))
        assert found is not None
        assert "DefaultCPUAllocator" in str(found)

    @pytest.mark.parametrize("ending", [SystemExit(0), SystemExit()], ids=repr)
    def test_the_script_is_content(self, ending: BaseException) -> None:
        assert origin(self.raised(chained="while handling", ending=ending)) is None

    def test_hidden(self) -> None:
        assert origin(self.raised(chained="from none", ending=ValueError("x"))) is None

    def test_a_circle(self) -> None:
        one, other = ValueError("one"), ValueError("other")
        one.__cause__, other.__cause__ = other, one
        assert origin(one) is None


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(100, 100), nn.Tanh(), nn.Linear(100, 100))
        self.norm = nn.BatchNorm1d(100)

    def forward(self, x: Tensor, fail: bool = True) -> Tensor:
        hidden = self.body(x)
        if fail:
            failing_allocation()
        return self.norm(hidden).sum()


def by_category(timeline: Timeline) -> Counter[str]:
    sizes = Counter[str]()
    for block in timeline.allocations:
        sizes[timeline.site(block).category] += block.bytes
    return sizes


def difference(before: Timeline, after: Timeline) -> Counter[str]:
    return by_category(after) - by_category(before)


LINEAR = 4 * (100 * 100 + 100)


class TestSnapshot:
    @pytest.fixture(autouse=True)
    def nothing_goes_meanwhile(self) -> Iterator[None]:
        """What others left behind is in every snapshot of a test or in none."""
        gc.disable()
        yield
        gc.enable()

    def test_a_training_step(self) -> None:
        """What a step holds when its forward fails, to the byte, and nothing of it twice."""
        before = snapshot(CPU, ValueError())
        net, x = Net(), torch.randn(5000, 100)
        optimizer = torch.optim.SGD(net.parameters(), momentum=0.9)
        net(x, fail=False).backward()
        optimizer.step()
        error = error_of(lambda: net(x))
        seen = snapshot(CPU, error)
        sizes = difference(before, seen)
        parameters = 2 * LINEAR + 4 * 200
        assert sizes["parameter"] == parameters
        assert sizes["gradient"] == parameters
        assert sizes["optimizer"] == parameters
        assert sizes["buffer"] == 4 * 200 + 8
        # The batch and the result of tanh are kept by autograd; the last is a local of forward.
        activation = 4 * 5000 * 100
        assert sizes["activation"] == 2 * activation
        assert sizes["other"] == activation
        assert seen.peak_bytes == seen.resident_bytes == sum(b.bytes for b in seen.allocations)
        assert len(list(seen.alive_at(0))) == len(seen.allocations)

    def test_modules_lines_and_nodes(self) -> None:
        net, x = Net(), torch.randn(500, 100)
        net(x, fail=False).backward()
        seen = snapshot(CPU, error_of(lambda: net(x)), [net])
        sites = [seen.site(block) for block in seen.allocations if block.bytes > 400]
        modules = {(site.category, site.module) for site in sites}
        assert ("parameter", "body.0") in modules
        assert ("gradient", "body.2") in modules
        lines = {site.source for site in sites if site.category == "other"}
        code = Net.forward.__code__
        assert any(
            line
            and line.startswith(f"{__file__}:")
            and int(line.split(":")[1]) > code.co_firstlineno
            for line in lines
        )
        nodes = {site.node for site in sites if site.category == "activation"}
        assert "AddmmBackward0" in nodes

    def test_what_only_autograd_holds(self) -> None:
        before = snapshot(CPU, ValueError())
        x = torch.randn(1000, requires_grad=True)
        loss = x.exp().sin().sum()
        sizes = difference(before, snapshot(CPU, ValueError()))
        assert sizes["activation"] == 4000  # exp and sin keep one result between them
        del loss

    def test_checkpoints_are_not_run_again(self) -> None:
        calls = 0

        def forward(x: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return x.exp().sin()

        x = torch.randn(1000, requires_grad=True)
        loss = checkpoint(forward, x, use_reentrant=False).sum()
        assert snapshot(CPU, ValueError()).peak_bytes > 0
        assert calls == 1
        del loss

    def test_nothing_is_changed(self) -> None:
        net, x = Net(), torch.randn(50, 100)
        loss = net(x, fail=False)
        snapshot(CPU, error_of(lambda: net(x)))
        loss.backward()
        assert all(p.grad is not None for p in net.parameters())

    def test_other_threads_at_work(self) -> None:
        """They may free a tensor while it is looked at: only models and optimizers are."""
        net, stop = Net(), list[bool]()

        def work() -> None:
            while not stop:
                pass

        x = torch.randn(500, 100)
        error = error_of(lambda: net(x))
        thread = threading.Thread(target=work)
        thread.start()
        try:
            seen = snapshot(CPU, error, [net])
        finally:
            stop.append(True)
            thread.join()
        assert set(by_category(seen)) <= {"parameter", "gradient", "buffer", "optimizer"}
        assert by_category(seen)["parameter"] >= 2 * LINEAR
