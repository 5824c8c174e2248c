"""The models of the peers benchmark: GPT-2 and Llama blocks, from random weights."""

from __future__ import annotations

from typing import Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Kind = Literal["gpt", "llama"]


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """A model and its batch. `length` is tokens per sequence, `batch` sequences per step."""

    kind: Kind
    layers: int
    width: int
    heads: int
    vocabulary: int
    length: int
    batch: int
    dropout: float = 0.0

    def label(self) -> str:
        """As the tables say it."""
        return (
            f"{self.kind} {self.layers}L, width {self.width}, {self.batch} x {self.length} tokens, "
            f"dropout {self.dropout:g}"
        )


class Attention(nn.Module):
    """Causal self-attention, with rotary positions if `rotary`."""

    def __init__(self, size: Size, *, rotary: bool) -> None:
        super().__init__()
        self.heads, self.dropout, self.rotary = size.heads, size.dropout, rotary
        self.qkv = nn.Linear(size.width, 3 * size.width, bias=not rotary)
        self.out = nn.Linear(size.width, size.width, bias=not rotary)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if self.rotary:
            q, k = rotated(q), rotated(k)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        out: Tensor = self.out(y.transpose(1, 2).reshape(batch, length, width))
        return out


def rotated(x: Tensor) -> Tensor:
    """Rotary position embedding (Su et al., 2021), halves rotated against each other."""
    half = x.shape[-1] // 2
    positions = torch.arange(x.shape[-2], device=x.device, dtype=torch.float32)
    steps = torch.arange(half, device=x.device, dtype=torch.float32)
    angle = positions[:, None] * 10000.0 ** (-steps / half)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.split(half, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


class GPTBlock(nn.Module):
    """Layer norm, GELU, biases, dropout."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
        self.attention = Attention(size, rotary=False)
        self.up = nn.Linear(size.width, 4 * size.width)
        self.down = nn.Linear(4 * size.width, size.width)
        self.drop = nn.Dropout(size.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norm1(x)))
        out: Tensor = x + self.drop(self.down(F.gelu(self.up(self.norm2(x)))))
        return out


class LlamaBlock(nn.Module):
    """RMS norm, SwiGLU, rotary positions, no biases."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        hidden = (size.width * 8 // 3 + 255) // 256 * 256
        self.norm1, self.norm2 = nn.RMSNorm(size.width), nn.RMSNorm(size.width)
        self.attention = Attention(size, rotary=True)
        self.gate = nn.Linear(size.width, hidden, bias=False)
        self.up = nn.Linear(size.width, hidden, bias=False)
        self.down = nn.Linear(hidden, size.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        y = self.norm2(x)
        out: Tensor = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return out


class LanguageModel(nn.Module):
    """Embeddings, blocks, an output layer and the loss; `checkpointed`: each block is."""

    def __init__(self, size: Size, *, checkpointed: bool = False) -> None:
        super().__init__()
        block = {"gpt": GPTBlock, "llama": LlamaBlock}[size.kind]
        self.checkpointed = checkpointed
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.positions = nn.Embedding(size.length, size.width) if size.kind == "gpt" else None
        self.blocks = nn.ModuleList(block(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width) if size.kind == "gpt" else nn.RMSNorm(size.width)
        self.head = nn.Linear(size.width, size.vocabulary, bias=False)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(ids)
        if self.positions is not None:
            x = x + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.checkpointed else block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
