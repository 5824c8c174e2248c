"""What the programs for several ranks share: a small GPT, its batches, a digest at the end."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS, TOKENS, WORDS = 64, 4, 32, 61
STEPS = 8
RANK = int(os.environ["RANK"])

kept: set[dist.ProcessGroup | None] = set()
"""Never let go, if asked for: see `fastsa.instrumentation.rank_store`, which keeps those of planned
jobs. A plain one that was forked has Inductor imported too, and hung once on a busy machine.
"""


class Block(nn.Module):
    """Attention and a feed-forward net, each with a residual."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        rows, tokens, _ = x.shape
        parts = self.qkv(self.norm(x)).view(rows, tokens, 3, HEADS, -1).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(rows, tokens, WIDTH)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))


class GPT(nn.Module):
    """Returns its loss."""

    def __init__(self, dropout: float = 0.0, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList(Block(dropout) for _ in range(layers))
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, words: Tensor) -> Tensor:
        x = self.embed(words[:, :-1])
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(x).flatten(0, 1), words[:, 1:].flatten())


def begin() -> None:
    """Join the other ranks; the same model on all of them, other batches and dropout on each."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    if os.environ.get("KEEP_GROUPS"):
        kept.add(dist.group.WORLD)
    torch.manual_seed(0)


def batch(step: int, rows: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * step + RANK)
    return torch.randint(WORDS, (rows, TOKENS + 1), generator=generator)


def train(
    model: nn.Module, steps: int = STEPS, rows: Callable[[int], int] = lambda step: 32
) -> None:
    """The usual loop."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        loss = model(batch(step, rows(step)))
        loss.backward()
        optimizer.step()
        tell(step, loss)


def say(line: str) -> None:
    """A line of this rank's, whole even where several write to one file."""
    sys.stdout.flush()
    os.write(1, f"rank {RANK} {line}\n".encode())


def tell(step: int, loss: Tensor) -> None:
    """Print a loss to the last bit."""
    say(f"step {step} {loss.item().hex()}")


def end(parameters: Iterable[Tensor]) -> None:
    """Print a digest of the parameters and leave the others."""
    digest = hashlib.sha256()
    for parameter in parameters:
        digest.update(parameter.detach().contiguous().numpy().tobytes())
    say(f"digest {digest.hexdigest()}")
    dist.destroy_process_group()
