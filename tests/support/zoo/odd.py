"""Odd models: what a recomputation, a view, a dtype or a layout can go wrong with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from support.hard_models import HARD, Hard, HardCase, Step, once
from support.models import CASES, Case
from support.zoo.specimen import STEPS, Call, Loop, Specimen, Training


def stepping(step: Step) -> Loop:
    """Train on the losses of a step's number."""

    def loop(training: Training) -> None:
        optimizer = torch.optim.AdamW(training.model.parameters(), lr=1e-2)
        for number in range(STEPS):
            optimizer.zero_grad()
            loss = step(training.call, number)
            loss.backward()
            training.see(loss)
            training.see_all()
            optimizer.step()

    return loop


INEXACT = {
    # torch's own compiled graph leaves draws out that nobody uses, and sums in another order
    "batch norm, two forwards",
}


def hard(case: HardCase, regions: int = 1, exact: bool = True) -> Specimen:
    return Specimen(
        lambda: Hard(case.forward, case.layers),
        {"steps": stepping(case.step)},
        exact=exact,
        regions=regions,
    )


def with_recurrent_layers(training: Training) -> None:
    with torch._dynamo.config.patch(allow_rnn=True):
        stepping(once)(training)


def of_case(case: Case) -> Specimen:
    return Specimen(case.make, {"steps": stepping(lambda call, number: case.loss(call))})


def layers(**makers: Callable[[], nn.Module]) -> dict[str, Callable[[], nn.Module]]:
    return makers


def shared_layer(m: Hard, x: Tensor) -> object:
    """One layer three times: its gradient is a sum of three."""
    hidden = m.a(x)
    for _ in range(3):
        hidden = torch.tanh(m.more["shared"](hidden)) + hidden
    return m.b(hidden)


def spectrum(m: Hard, x: Tensor) -> object:
    """Complex numbers between two transforms."""
    found = torch.fft.rfft(m.a(x).tanh())
    found = found * torch.polar(found.abs().sigmoid(), found.angle()) * found.conj()
    return m.b(torch.fft.irfft(found, n=16).sin())


class Counting(nn.Module):
    """Buffers of integers and flags that say what happens next."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(16, dtype=torch.int64))
        self.register_buffer("seen", torch.zeros(16, dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.count += (x > 0).sum(0)
            self.seen |= self.count > 3
        return torch.where(self.seen, x.exp(), x * self.count.to(x.dtype).rsqrt().clamp(max=2))


def counted(m: Hard, x: Tensor) -> object:
    return m.b(m.more["counting"](m.a(x)).tanh())


def structured(m: Hard, x: Tensor) -> object:
    """Dictionaries and lists, one tensor twice, a view, and something that is no tensor."""
    hidden = m.a(x).tanh()
    out = m.b(hidden.sin())
    return {"out": out, "again": [out, hidden.view(2, 48)], "name": "odd", "row": hidden[0]}


def of_structure(model: Call, step: int) -> Tensor:
    found = model(torch.randn(6, 8))
    parts = found["out"].square().mean() + found["again"][1].cos().sum() + found["row"].sum()
    loss: Tensor = parts * len(found["name"])
    return loss


def expanded(m: Hard, x: Tensor) -> object:
    """Broadcast views, kept and written around."""
    hidden = m.a(x).sigmoid().unsqueeze(1).expand(6, 4, 16)
    weights = m.a.bias.expand(4, 16) * hidden.transpose(0, 1).sum(1)
    return m.b((hidden * weights).flatten(0, 1).unfold(0, 6, 6).mean(2))


def cells(m: Hard, x: Tensor) -> object:
    """Recurrent cells, unrolled."""
    state, (h, c) = torch.zeros(6, 16), (torch.zeros(6, 16), torch.zeros(6, 16))
    for part in m.a(x).tanh().split(4, 1):
        state = m.more["gru"](part, state)
        h, c = m.more["lstm"](part, (h, c))
    return m.b(state * h + c)


def recurrent(m: Hard, x: Tensor) -> object:
    """torch's LSTM, which Dynamo takes in only if it is told to."""
    found, _ = m.more["lstm"](m.a(x).tanh().view(6, 4, 4))
    return m.b(found.flatten(1).tanh())


def bags(m: Hard, x: Tensor) -> object:
    """Looked up by bags, gathered, and scattered back."""
    numbers = x.argsort(1)
    bag = m.more["bag"](numbers)
    chosen = m.a(x).gather(1, numbers[:, :4]).exp()
    spread = torch.zeros(6, 16).scatter_add(1, numbers[:, 4:], chosen)
    return m.b(bag * spread.index_select(0, numbers[0, :6] % 6).tanh())


def experts(m: Hard, x: Tensor) -> object:
    """Each row goes to two of four experts."""
    weights, chosen = m.more["gate"](x).softmax(1).topk(2, 1)
    hidden = m.a(x)
    found = torch.stack([layer(hidden).relu() for layer in m.more["experts"].children()], 1)
    rows = torch.arange(6).unsqueeze(1)
    return m.b((found[rows, chosen] * weights.unsqueeze(2)).sum(1))


class Cube(torch.autograd.Function):
    """Saves its input and its output, and has a backward of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.pow(3)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        return gradient * (3 * x.square() + 1e-3 * y.sign())


def own_function(m: Hard, x: Tensor) -> object:
    return m.b(Cube.apply(m.a(x).tanh()).exp())


@torch.library.custom_op("fastsa_tests::scaled_sine", mutates_args=())
def scaled_sine(x: Tensor, scale: float) -> Tensor:
    return (x * scale).sin()


@scaled_sine.register_fake
def _(x: Tensor, scale: float) -> Tensor:
    return torch.empty_like(x)


def _save(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.scale = inputs[1]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    (x,) = ctx.saved_tensors
    return gradient * (x * ctx.scale).cos() * ctx.scale, None


scaled_sine.register_autograd(_backward, setup_context=_save)


def own_op(m: Hard, x: Tensor) -> object:
    return m.b(scaled_sine(m.a(x).tanh(), 3.0).exp())


def dropouts(m: Hard, x: Tensor) -> object:
    """All, nothing, and nearly all; of features too."""
    hidden = F.dropout(m.a(x), 0.99) + F.dropout(m.a(x), 0.0) + F.dropout(x.sum(), 1.0)
    hidden = F.selu(F.alpha_dropout(hidden, 0.3, training=True))
    hidden = F.feature_alpha_dropout(hidden.view(6, 4, 4), 0.5, training=True).flatten(1)
    return m.b(F.dropout1d(hidden.view(6, 4, 4).exp(), 0.2).flatten(1))


def halves(m: Hard, x: Tensor) -> object:
    return m.b(m.more["norm"](m.a(x.bfloat16()).relu()).tanh()).float()


def in_bfloat16() -> nn.Module:
    return Hard(halves, layers(norm=lambda: nn.LayerNorm(16))).bfloat16()


def convolutions(m: Hard, x: Tensor) -> object:
    """Transposed, dilated, grouped, in one and in three dimensions."""
    hidden = m.more["rise"](m.a(x).view(6, 4, 4)).relu()
    hidden = m.more["wide"](F.pad(hidden, (2, 2), mode="reflect"))
    deep = m.more["deep"](hidden.view(1, 1, 6, 4, -1)).tanh()
    return m.b(F.adaptive_avg_pool1d(deep.view(6, 4, -1), 4).flatten(1))


def norms(m: Hard, x: Tensor) -> object:
    """Of groups, of instances that keep statistics, and a sum of squares."""
    hidden = m.more["group"](m.a(x)).relu().view(6, 4, 4)
    hidden = m.more["instance"](hidden).tanh()
    return m.b(F.rms_norm(F.local_response_norm(hidden, 2).flatten(1), (16,)))


def masked_attention(m: Hard, x: Tensor) -> object:
    """With a mask of floats and one of flags, and dropout inside."""
    q, k, v = (part.view(6, 1, 4, 4) for part in (m.a(x), m.a(x).tanh(), m.a(x).relu()))
    allowed = torch.ones(4, 4, dtype=torch.bool).tril()
    bias = torch.arange(4.0) - torch.arange(4.0)[:, None]
    first = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    second = F.scaled_dot_product_attention(first, k, v, attn_mask=bias, dropout_p=0.2)
    return m.b((first + second).flatten(1))


def normalised_weights(m: Hard, x: Tensor) -> object:
    """Power iterations in buffers, written in every forward."""
    return m.b(m.more["weight"](m.more["spectral"](m.a(x)).relu()).tanh())


def double(m: Hard, x: Tensor) -> object:
    """Sixty-four bits in the middle of thirty-two."""
    hidden = m.a(x).double().logcumsumexp(1)
    return m.b((hidden.sort(1).values.diff(dim=1, prepend=hidden[:, :1])).float().tanh())


def spectral() -> nn.Module:
    return parametrizations.spectral_norm(nn.Linear(16, 16))


def weighted() -> nn.Module:
    return parametrizations.weight_norm(nn.Linear(16, 16))


def four_experts() -> nn.Module:
    return nn.ModuleList(nn.Linear(16, 16) for _ in range(4))


ODD = {
    **{
        name: hard(case, 1 + name.endswith("two regions"), name not in INEXACT)
        for name, case in HARD.items()
    },
    "gpt": of_case(CASES["gpt"]),
    "a buffer read and updated": of_case(CASES["buffer"]),
    "a layer three times": hard(
        HardCase(shared_layer, once, layers(shared=lambda: nn.Linear(16, 16)))
    ),
    "complex numbers": hard(HardCase(spectrum)),
    "buffers of integers": hard(HardCase(counted, once, layers(counting=Counting))),
    "a dictionary": hard(HardCase(structured, of_structure)),
    "expanded views": hard(HardCase(expanded)),
    "recurrent cells": hard(
        HardCase(
            cells, once, layers(gru=lambda: nn.GRUCell(4, 16), lstm=lambda: nn.LSTMCell(4, 16))
        )
    ),
    "an lstm": Specimen(
        lambda: Hard(recurrent, layers(lstm=lambda: nn.LSTM(4, 4, batch_first=True))),
        {"steps": with_recurrent_layers},
        exact=False,
    ),
    "bags and scatters": hard(HardCase(bags, once, layers(bag=lambda: nn.EmbeddingBag(8, 16)))),
    "experts": hard(
        HardCase(experts, once, layers(gate=lambda: nn.Linear(8, 4), experts=four_experts))
    ),
    "an autograd function": hard(HardCase(own_function)),
    "a custom op": hard(HardCase(own_op)),
    "dropouts": hard(HardCase(dropouts), exact=False),
    "bfloat16": Specimen(in_bfloat16, {"steps": stepping(once)}),
    "convolutions": hard(
        HardCase(
            convolutions,
            once,
            layers(
                rise=lambda: nn.ConvTranspose1d(4, 4, 3, 2, groups=2),
                wide=lambda: nn.Conv1d(4, 4, 3, dilation=2, bias=False),
                deep=lambda: nn.Conv3d(1, 1, 3, padding=1),
            ),
        )
    ),
    "norms": hard(
        HardCase(
            norms,
            once,
            layers(
                group=lambda: nn.GroupNorm(4, 16),
                instance=lambda: nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
            ),
        )
    ),
    "masked attention": hard(HardCase(masked_attention)),
    "normalised weights": hard(
        HardCase(normalised_weights, once, layers(spectral=spectral, weight=weighted))
    ),
    "double precision": hard(HardCase(double)),
}
