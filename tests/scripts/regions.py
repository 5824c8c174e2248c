"""A step of several captured regions, in the way that is named: `regions.py WAY`.

breaks: the tracer breaks off twice. calls: one piece is called four times. micro: three
micro-batches, and the tracer breaks off. models: two models with eager code between them. gan: two
models, two optimizers, one of the models called three times.
"""

import sys

import torch
from tiny import WIDTH, Net, adam, batch, tell
from torch import Tensor, nn
from torch.nn import functional as F

WAY = sys.argv[1]


class Block(nn.Module):
    """Two layers with dropout; the tracer breaks off between them if `breaks`."""

    def __init__(self, *, breaks: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, 4 * WIDTH)
        self.second = nn.Linear(4 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(0.1)
        self.breaks = breaks

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(F.gelu(self.first(x)))
        if self.breaks:
            torch._dynamo.graph_break()
        return x + self.second(hidden)


class Calls(nn.Module):
    """Blocks, each of them a call of one captured region."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
            torch._dynamo.graph_break()
        return x


def square(x: Tensor) -> Tensor:
    return (x * x).mean()


def breaks(number: int) -> Tensor:
    optimizer.zero_grad()
    loss = square(model(batch()))
    loss.backward()
    optimizer.step()
    return loss


def micro(number: int) -> Tensor:
    optimizer.zero_grad()
    for _ in range(3):
        loss = square(model(batch()))
        loss.backward()
    optimizer.step()
    return loss


def models(number: int) -> Tensor:
    optimizer.zero_grad()
    hidden = torch.sin(model(batch())).contiguous()
    loss = square(torch.tanh(other(hidden)))
    loss.backward()
    optimizer.step()
    return loss


def gan(number: int) -> Tensor:
    others.zero_grad()
    fake = model(batch())
    (other(batch()).mean() - other(fake.detach()).mean()).backward()
    others.step()
    optimizer.zero_grad()
    loss = other(fake).mean()
    loss.backward()
    optimizer.step()
    return loss


if WAY == "calls":
    model: nn.Module = Calls()
elif WAY in ("models", "gan"):
    model = nn.Sequential(Block(), Block())
else:
    model = nn.Sequential(Block(breaks=True), Block(), Block(breaks=True))
other = Net()
optimizer = adam(model, other) if WAY == "models" else adam(model)
others = adam(other)
step = {"calls": breaks}.get(WAY) or globals()[WAY]
for number in range(9):
    tell(number, step(number))
print(torch.rand(1).item(), sum(float(p.double().sum()) for p in model.parameters()).hex())
