"""Models that make a recomputation read something else than the first run did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layers = dict[str, Callable[[], nn.Module]]
Step = Callable[[nn.Module, int], Tensor]


@torch.library.custom_op("fastsa_tests::add_noise", mutates_args={"x"})
def add_noise(x: Tensor) -> None:
    """Draws random numbers, which no tag of the op says."""
    x.add_(torch.rand(16))


class Hard(nn.Module):
    """Two linear layers, more layers, a buffer, and a forward of these."""

    state: Tensor

    def __init__(self, forward: Callable[[Hard, Tensor], object], layers: Layers) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 8)
        self.more = nn.ModuleDict({name: make() for name, make in layers.items()})
        self.register_buffer("state", torch.zeros(2, 16))
        self.run = forward

    def forward(self, x: Tensor) -> object:
        return self.run(self, x)


def batch(seed: int) -> Tensor:
    return torch.randn(6, 8, generator=torch.Generator().manual_seed(seed))


def once(model: nn.Module, step: int) -> Tensor:
    out: Tensor = model(batch(step))
    return out.square().mean()


def twice(model: nn.Module, step: int) -> Tensor:
    """Both forwards before the backward."""
    out: Tensor = model(batch(step)) * model(batch(step + 9))
    return out.mean()


def changes_an_output(model: nn.Module, step: int) -> Tensor:
    hidden, out = model(batch(step))
    hidden.add_(1)
    loss: Tensor = out.square().mean() + hidden.sum()
    return loss


def gives_a_computed_input(model: nn.Module, step: int) -> Tensor:
    x = batch(step).requires_grad_() * 2
    out: Tensor = model(x)
    return out.square().mean() + x.sum()


@dataclass(frozen=True)
class HardCase:
    """A forward, the layers it needs besides two linear ones, and a step's loss."""

    forward: Callable[[Hard, Tensor], object]
    step: Step = once
    layers: Layers = field(default_factory=dict)


def norm_twice(m: Hard, x: Tensor) -> object:
    norm = m.more["norm"]
    return m.b(norm(norm(m.a(x)).relu()).tanh())


def norm_across_a_break(m: Hard, x: Tensor) -> object:
    hidden = m.more["norm"](m.a(x)).relu()
    torch._dynamo.graph_break()
    return m.b(m.more["norm"](hidden).relu())


def two_outputs(m: Hard, x: Tensor) -> object:
    hidden = m.a(x) * 2
    return hidden, m.b(hidden.relu())


def renormalised(m: Hard, x: Tensor) -> object:
    return m.b(m.more["table"](x.argsort(1)[:, 0]).tanh())


def changes_its_input(m: Hard, x: Tensor) -> object:
    hidden = m.a(x.exp()).tanh()
    x.mul_(2)
    return m.b(hidden.sin() + x.sum())


def untagged_noise(m: Hard, x: Tensor) -> object:
    hidden = m.a(x).tanh()
    noisy = hidden.detach().clone()
    add_noise(noisy)
    add_noise(m.state)
    return m.b((hidden * noisy * torch.rand(16) * m.state[0]).sin())


def writes_views(m: Hard, x: Tensor) -> object:
    hidden = m.a(x)
    with torch.no_grad():
        m.state[0] += hidden.mean(0)
    hidden = hidden * m.state[0].exp()
    with torch.no_grad():
        m.state[1] = m.state[0] * 0.5
    hidden = torch.tanh(hidden + m.state.sum(0))
    with torch.no_grad():
        m.state.view(-1)[5] = 3.0
    return m.b(hidden * m.state[1].cos())


def writes_intermediates(m: Hard, x: Tensor) -> object:
    hidden = F.dropout(m.a(x).relu_() * 2, 0.3, inplace=True)
    hidden = hidden.add(1).masked_fill_(hidden > 2, 0.5)
    made = torch.empty_like(hidden).bernoulli_(0.5).mul_(hidden)
    made[:, ::2] = hidden[:, ::2].sin()
    made.index_put_((torch.tensor([0, 2, 2]),), hidden[:3], accumulate=True)
    return m.b(made.tanh())


def draws(m: Hard, x: Tensor) -> object:
    torch.rand(3)
    hidden = m.a(x).tanh()[torch.randperm(6)] + F.gumbel_softmax(m.a(x), hard=True)
    torch.rand_like(hidden)
    hidden = hidden * torch.normal(0.0, 1.0, (6, 16)) + F.rrelu(hidden, training=True)
    return m.b(F.dropout2d(hidden.view(1, 6, 4, 4), 0.4).view(6, 16))


def returns_parts(m: Hard, x: Tensor) -> object:
    first, second = m.a(x).split(8, 1)
    rows = torch.unbind(first.relu())
    return torch.cat([second.exp().expand(2, 6, 8).sum(0), torch.stack(rows).sin()]).view(12, 8)[1:]


HARD = {
    "batch norm twice": HardCase(norm_twice, once, {"norm": lambda: nn.BatchNorm1d(16)}),
    "batch norm, two forwards": HardCase(norm_twice, twice, {"norm": lambda: nn.BatchNorm1d(16)}),
    "batch norm, two regions": HardCase(
        norm_across_a_break, once, {"norm": lambda: nn.BatchNorm1d(16)}
    ),
    "an output changed in place": HardCase(two_outputs, changes_an_output),
    "a weight renormalised": HardCase(
        renormalised, once, {"table": lambda: nn.Embedding(8, 16, max_norm=0.5)}
    ),
    "a computed input changed": HardCase(changes_its_input, gives_a_computed_input),
    "a custom op that draws": HardCase(untagged_noise),
    "views of a buffer written": HardCase(writes_views),
    "intermediates written": HardCase(writes_intermediates),
    "many kinds of draws": HardCase(draws),
    "views of parts": HardCase(returns_parts),
}
