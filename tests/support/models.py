"""Small models with everything that makes recomputation go wrong: dropout, batch norm, buffers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Causal attention with dropout inside the fused kernel's call."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.heads = heads
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        shape = (batch, length, self.heads, width // self.heads)
        q, k, v = (part.view(shape).transpose(1, 2) for part in self.qkv(x).split(width, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.dropout)
        return self.out(y.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TinyGPT(nn.Module):
    """Returns logits nobody uses and the loss, as many do."""

    def __init__(self, dropout: float = 0.2, layers: int = 2, width: int = 32) -> None:
        super().__init__()
        self.tokens = nn.Embedding(61, width)
        self.positions = nn.Embedding(32, width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, 4, dropout) for _ in range(layers))
        self.head = nn.Linear(width, 61, bias=False)

    def forward(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        x = self.drop(self.tokens(ids) + self.positions(torch.arange(ids.shape[1])))
        for block in self.blocks:
            x = block(x)
        logits = self.head(x)
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class TinyResNet(nn.Module):
    """Convolutions, batch norm, in-place activations, a skip connection, a loss outside."""

    def __init__(self, width: int = 8, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
            )
            for _ in range(blocks)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for block in self.blocks:
            x = F.relu(x + block(x))
        return self.head(x.mean((2, 3)))


class BufferReader(nn.Module):
    """Reads a buffer, then updates it, in every forward: recomputing the read would be wrong."""

    average: Tensor
    count: Tensor

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.register_buffer("average", torch.zeros(width))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x - self.average)) * (1 + self.average.exp())
            with torch.no_grad():
                self.average.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
                self.count += 1
        return x * self.average.cos()


@dataclass(frozen=True)
class Case:
    """A model and one training step's loss on fixed data."""

    make: Callable[[], nn.Module]
    loss: Callable[[nn.Module], Tensor]


def _ids(seed: int) -> Tensor:
    return torch.randint(0, 61, (4, 32), generator=torch.Generator().manual_seed(seed))


def _gpt_loss(model: nn.Module) -> Tensor:
    loss: Tensor = model(_ids(1), _ids(2))[1]
    return loss


def _resnet_loss(model: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 3, 16, 16, generator=generator)
    return F.cross_entropy(model(images), torch.arange(8) % 10)


def _buffer_loss(model: nn.Module) -> Tensor:
    rows = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    loss: Tensor = model(rows).square().mean()
    return loss


CASES = {
    "gpt": Case(TinyGPT, _gpt_loss),
    "gpt without dropout": Case(lambda: TinyGPT(dropout=0.0), _gpt_loss),
    "resnet": Case(TinyResNet, _resnet_loss),
    "buffer": Case(BufferReader, _buffer_loss),
}
