"""The smallest budget that fits, from a model that never runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo import eval_frame
from torch.nn import functional as F

from fastsa.capture.minimum_budget import MinimumBudget, ModelCall, minimum_budget
from scripts.tiny import Net

MIB = 2**20


class Normed(nn.Module):
    """Everything a run would leave a trace in."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.norm = nn.BatchNorm1d(64)
        self.calls = 0
        self.latest: Tensor | None = None

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
        self.calls += 1
        self.latest = F.dropout(self.norm(self.first(x)).relu()) * scale
        return self.latest.sum()


class Broken(Normed):
    """Leaves the graph in the middle."""

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
        hidden = self.first(x)
        torch._dynamo.graph_break()
        return self.norm(hidden).sum() * scale


def state_of(module: nn.Module) -> dict[str, Any]:
    held = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return held | {"vars": {k: v for k, v in vars(module).items() if not k.startswith("_")}}


def of(module: nn.Module, *args: Any, resident: int = 0, **kwargs: Any) -> MinimumBudget:
    return minimum_budget(module, ModelCall.of(args, kwargs), resident)


def measured_peak(step: Callable[[], object]) -> int:
    """Highest bytes of one plain step above its start, by the allocator's own events."""
    from fastsa.instrumentation.allocators.cpu import CpuAllocator
    from fastsa.instrumentation.allocators.events import peak_delta

    step()
    with CpuAllocator() as allocator:
        step()
    return peak_delta(allocator.events)


class TestAnswer:
    def test_between_the_parts_and_the_unplanned_peak(self) -> None:
        net, x = Net(), torch.randn(1024, 128)
        found = of(net, x, resident=10 * MIB)
        assert found.missing is None
        assert found.bytes is not None

        def step() -> None:
            net.zero_grad()
            net(x).sum().backward()

        unplanned = measured_peak(step)
        activation = 1024 * 128 * 4
        assert 10 * MIB + 2 * activation < found.bytes < 10 * MIB + 0.8 * unplanned

    def test_grows_with_the_batch_that_was_noted(self) -> None:
        net = Net()
        small, large = (of(net, torch.randn(rows, 128)).bytes for rows in (1024, 4096))
        assert small
        assert large
        assert 2 < large / small < 6  # each is the best found in a second

    def test_autocast_as_it_was(self) -> None:
        """Half as many bytes a number, although the tracing happens outside of autocast."""
        net, x = Net(), torch.randn(8192, 128)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            call = ModelCall.of([x], {})
        half, full = (minimum_budget(net, each, 0).bytes for each in (call, ModelCall.of([x], {})))
        assert half
        assert full
        assert half < 0.85 * full
        assert not torch.is_autocast_enabled("cpu")

    def test_nothing_of_the_size_is_allocated(self) -> None:
        """A model that could not run: its activations are larger than any machine."""

        class Wide(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.ones(1))

            def forward(self, x: Tensor) -> Tensor:
                return (x[:, None] * self.weight).expand(-1, 1 << 40).exp().sum()

        found = of(Wide(), torch.ones(1024))
        assert found.bytes
        assert found.bytes >= 1 << 52


class TestNothingChanges:
    def test_model(self) -> None:
        model, x = Normed(), torch.randn(32, 64)
        before = state_of(model)
        assert of(model, x, scale=2.0).bytes
        after = state_of(model)
        assert before["vars"] == after["vars"]
        assert all(torch.equal(before[name], after[name]) for name in model.state_dict())
        assert all(p.grad is None for p in model.parameters())
        assert model._compiled_call_impl is None

    def test_random_state(self) -> None:
        model, x = Normed(), torch.randn(32, 64)
        before = torch.get_rng_state()
        assert of(model, x).bytes
        assert torch.equal(torch.get_rng_state(), before)

    def test_tracer(self) -> None:
        """A compilation afterwards is as good as the first, and of fixed sizes."""
        torch._dynamo.reset()
        model, cached = Net(), set(eval_frame.cached_backends)
        for rows in (32, 16, 8):
            assert of(model, torch.randn(rows, 128)).bytes
        assert set(eval_frame.cached_backends) == cached
        graphs: list[Any] = []

        def backend(gm: torch.fx.GraphModule, inputs: list[Any]) -> Any:
            graphs.append(inputs)
            return gm.forward

        compiled = torch.compile(model, backend=backend)
        compiled(torch.randn(64, 128))
        compiled(torch.randn(64, 128))
        assert len(graphs) == 1
        assert not any(isinstance(each, torch.SymInt) for each in graphs[0])
        torch._dynamo.reset()

    def test_no_memory_is_held(self) -> None:
        import gc
        import weakref

        model = Normed()
        gone = weakref.ref(model)
        assert of(model, torch.randn(32, 64)).bytes
        del model
        gc.collect()
        assert gone() is None


class TestMissing:
    def test_graph_break(self) -> None:
        found = of(Broken(), torch.randn(32, 64))
        assert found.bytes is None
        assert found.missing
        assert "cannot be captured" in found.missing
        assert "\n" not in found.missing

    def test_no_gradient(self) -> None:
        """It is not run instead."""
        model = Normed().requires_grad_(False)
        found = of(model, torch.randn(32, 64))
        assert found.bytes is None
        assert "no gradient" in str(found.missing)
        assert model.calls == 0

    def test_compiled_by_the_script(self) -> None:
        model = Normed()
        model.compile(backend="eager")
        assert "compiles its model itself" in str(of(model, torch.randn(2, 64)).missing)

    def test_arguments_of_a_kind_nobody_knows(self) -> None:
        found = of(Normed(), object())
        assert "called with a object" in str(found.missing)

    def test_wrong_arguments(self) -> None:
        found = of(Normed(), torch.randn(2, 3))
        assert found.bytes is None
        assert found.missing


class TestCall:
    def test_made_again(self) -> None:
        x = torch.randn(6, 4).t()
        args, kwargs = ModelCall.of(
            [x, [3, "a"]], {"mask": torch.zeros(2, dtype=torch.bool)}
        ).arguments()
        assert (args[0].shape, args[0].stride()) == (x.shape, x.stride())
        assert args[1] == [3, "a"]
        assert (kwargs["mask"].dtype, kwargs["mask"].shape) == (torch.bool, (2,))

    @pytest.mark.parametrize(
        ("tensor", "size"),
        [
            (torch.empty(3, 4), 48),
            (torch.empty(5, dtype=torch.bfloat16), 10),
            (torch.empty(1).expand(100, 100), 4),
            (torch.empty(0, 3), 0),
        ],
        ids=["plain", "half", "expanded", "empty"],
    )
    def test_bytes(self, tensor: Tensor, size: int) -> None:
        assert ModelCall.of([tensor], {}).bytes == size

    def test_keeps_no_tensor(self) -> None:
        import weakref

        x = torch.randn(3)
        gone = weakref.ref(x)
        call = ModelCall.of([x], {"y": x})
        del x
        assert gone() is None
        assert call.bytes == 24
