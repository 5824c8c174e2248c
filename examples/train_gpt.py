"""Train a small GPT on text the script makes: a plain eager loop."""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

Batch = tuple[Tensor, Tensor]

ALPHABET = 128  # ASCII
NAMES = ["Ada", "Emmy", "Grace", "Katherine", "Sofya"]
VERBS = ["finds", "keeps", "draws", "counts", "names", "sends"]
KINDS = ["small", "prime", "round", "green", "quiet", "seventh"]
THINGS = ["graph", "number", "letter", "matrix", "river", "proof"]


class Block(nn.Module):
    """Causal self-attention and an MLP, each behind a layer norm and with a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)
        self.residual_dropout = nn.Dropout(dropout)

    def attend(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        return self.attention_out(y.transpose(1, 2).reshape(batch, length, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.residual_dropout(self.attend(self.attention_norm(x)))
        return x + self.residual_dropout(self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x)))))


class GPT(nn.Module):
    """Token and position embeddings, a stack of blocks, and a tied output layer."""

    def __init__(self, layers: int, width: int, heads: int, context: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Embedding(ALPHABET, width)
        self.positions = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, ALPHABET, bias=False)
        self.apply(self.initialize)
        self.head.weight = self.tokens.weight

    @staticmethod
    def initialize(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, idx: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        positions = torch.arange(idx.shape[1], device=idx.device)
        x = self.dropout(self.tokens(idx) + self.positions(positions))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        loss = F.cross_entropy(logits.view(-1, ALPHABET), targets.reshape(-1))
        return logits, loss


def make_text(seed: int, sentences: int = 5000) -> Tensor:
    """Sentences of a tiny grammar, as one long row of ASCII codes."""
    rng = random.Random(seed)
    text = "".join(
        f"{rng.choice(NAMES)} {rng.choice(VERBS)} the {rng.choice(KINDS)} {rng.choice(THINGS)}. "
        for _ in range(sentences)
    )
    return torch.tensor(list(text.encode("ascii")))


def get_batch(text: Tensor, batch_size: int, context: int, device: str) -> Batch:
    starts = torch.randint(len(text) - context, (batch_size,))
    rows = torch.stack([text[i : i + context + 1] for i in starts.tolist()]).to(device)
    return rows[:, :-1], rows[:, 1:]


def build(args: argparse.Namespace) -> tuple[nn.Module, Optimizer, Callable[[], Batch]]:
    """The model, its optimizer, and a function that makes a batch."""
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    text = make_text(args.seed)
    model = GPT(args.layers, args.width, args.heads, args.context, args.dropout).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95))
    parameters = sum(p.numel() for p in model.parameters())
    print(f"GPT with {parameters / 1e6:.2f} M parameters on {device}")
    return model, optimizer, lambda: get_batch(text, args.batch_size, args.context, device)


def train_step(model: nn.Module, optimizer: Optimizer, batch: Batch) -> float:
    """One step; its loss."""
    optimizer.zero_grad()
    _, loss = model(*batch)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--context", type=int, default=256, help="tokens per sequence")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    return parser.parse_args(arguments)


def main() -> None:
    args = parse_args()
    model, optimizer, make_batch = build(args)
    seconds = []
    for step in range(args.steps):
        start = time.perf_counter()
        loss = train_step(model, optimizer, make_batch())
        # Nine significant digits tell any two float32 values apart.
        print(f"step {step:3d}  loss {loss:#.9g}", flush=True)
        seconds.append(time.perf_counter() - start)
    if seconds:
        print(f"median step {statistics.median(seconds):.3f} s")


if __name__ == "__main__":
    main()
