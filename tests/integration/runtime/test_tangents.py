"""Outputs of a region that the script uses or does not: gradients as with zeros of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from support.accumulating import same
from support.compiled import unplanned


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Several(nn.Module):
    """A loss; logits; a product's transpose, whose gradient goes through more than sums."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head, self.side = nn.Linear(8, 16), nn.Linear(16, 32), nn.Linear(16, 4)

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = F.gelu(self.first(x))
        logits = self.head(hidden)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return loss, logits, torch.tanh(self.side(hidden)).transpose(1, 2)


Outputs = tuple[Tensor, Tensor, Tensor]


def hooked(outputs: Outputs) -> Tensor:
    outputs[1].register_hook(lambda gradient: None if gradient is None else gradient * 2)
    return outputs[0]


def retained(outputs: Outputs) -> Tensor:
    outputs[1].retain_grad()
    return outputs[0]


def all_of_them(outputs: Outputs) -> Tensor:
    return outputs[0] + outputs[1].square().mean() + outputs[2].sin().sum()


USES: dict[str, Callable[[Outputs], Tensor]] = {
    "the loss": lambda outputs: outputs[0],
    "the logits": lambda outputs: outputs[1].square().mean(),
    "the side": lambda outputs: outputs[2].sin().sum(),
    "the loss and the side": lambda outputs: outputs[0] + outputs[2].sin().sum(),
    "all": all_of_them,
    "a hook on what is not used": hooked,
    "a gradient kept for what is not used": retained,
}


def train(prepare: Callable[[nn.Module], object], uses: list[str]) -> list[Any]:
    torch.manual_seed(0)
    model = Several()
    prepare(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen: list[Any] = []
    for use in uses:
        outputs = model(torch.randn(3, 5, 8), torch.randint(0, 32, (3, 5)))
        USES[use](outputs).backward()
        seen += [p.grad if p.grad is None else p.grad.clone() for p in model.parameters()]
        seen.append(outputs[1].grad if outputs[1].retains_grad else None)
        optimizer.step()
        optimizer.zero_grad()
    return seen


@pytest.mark.promise("unused-outputs")
@pytest.mark.parametrize("uses", [*([use] * 2 for use in USES), list(USES)], ids=str)
def test_the_gradients_are_torch_s(uses: list[str]) -> None:
    wanted = train(lambda model: model.compile(backend="aot_eager"), uses)
    torch._dynamo.reset()
    assert same(train(unplanned, uses), wanted)


def test_batches_of_changing_size() -> None:
    def run(prepare: Callable[[nn.Module], object]) -> list[Any]:
        torch._dynamo.reset()
        torch.manual_seed(0)
        model = Several()
        prepare(model)
        for rows in (2, 3, 4, 5):
            model(torch.randn(rows, 5, 8), torch.randint(0, 32, (rows, 5)))[0].backward()
        return [p.grad for p in model.parameters()]

    assert same(run(unplanned), run(lambda model: model.compile(backend="aot_eager")))


@pytest.mark.promise("unused-outputs")
def test_unused_logits_take_no_memory() -> None:
    """The zeros that torch makes for them would be the largest thing in this backward."""
    torch.manual_seed(0)
    model = Several()
    unplanned(model)
    x, labels = torch.randn(64, 64, 8), torch.randint(0, 32, (64, 64))
    model(x, labels)[0].backward()
    loss = model(x, labels)[0]
    with torch.profiler.profile(profile_memory=True) as profile:
        loss.backward()
    zeros = [e for e in profile.events() if e.name == "aten::zeros" and e.cpu_memory_usage > 64]
    assert not zeros
