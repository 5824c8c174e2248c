"""A small transformer in plain PyTorch, for the scripts that are about the loop around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

WIDTH, TOKENS, ROWS, WORDS = 64, 64, 12, 96


class Block(nn.Module):
    """Attention and a feed-forward layer, with dropout."""

    def __init__(self, width: int = WIDTH, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        rows, tokens, width = x.shape
        shape = (rows, tokens, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(self.norm1(x)).view(shape).permute(2, 0, 3, 1, 4)
        p = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, tokens, width))
        return x + self.feed(self.norm2(x))


class Transformer(nn.Module):
    """A language model of a few blocks."""

    def __init__(self, layers: int = 3, *, tied: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.places = nn.Parameter(torch.randn(TOKENS, WIDTH) * 0.02)
        self.blocks = nn.ModuleList(Block() for _ in range(layers))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Centred(Transformer):
    """Takes the moving average of its features away."""

    def __init__(self, layers: int = 3) -> None:
        super().__init__(layers)
        self.register_buffer("average", torch.zeros(WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if self.training:
            with torch.no_grad():
                self.average.lerp_(x.mean((0, 1)), 0.1)
        return self.head((x - self.average).tanh())


class Checkpointed(Transformer):
    """Keeps what goes into each block, not what is inside."""

    def __init__(self, layers: int = 3, *, reentrant: bool) -> None:
        super().__init__(layers)
        self.reentrant = reentrant

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(self.norm(x))


class Adapted(nn.Module):
    """A frozen linear layer and what is added to it."""

    def __init__(self, layer: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Linear(layer.in_features, rank, bias=False)
        self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.up(self.down(self.dropout(x)))


def adapted(layers: int = 4) -> Transformer:
    """One with a frozen first block, and low-rank adapters in the others."""
    model = Transformer(layers).requires_grad_(False)
    for block in list(model.blocks)[1:]:
        block.qkv, block.out = Adapted(block.qkv), Adapted(block.out)
    model.head.requires_grad_(True)
    return model


def batch(rows: int = ROWS) -> tuple[Tensor, Tensor]:
    """Tokens, and the tokens that follow them."""
    tokens = torch.randint(0, WORDS, (rows, TOKENS + 1))
    return tokens[:, :-1], tokens[:, 1:]


def loss_of(model: nn.Module, tokens: Tensor, following: Tensor) -> Tensor:
    return F.cross_entropy(model(tokens).flatten(0, 1), following.flatten())
