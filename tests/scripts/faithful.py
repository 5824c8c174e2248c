"""Trains a model of a kind whose numbers a compiler changes; prints bits of every step."""

from __future__ import annotations

import hashlib
import random
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WHAT = sys.argv[1]
STEPS = 6


class Net(nn.Module):
    """Two layers with dropout, and what `WHAT` adds."""

    def __init__(self) -> None:
        super().__init__()
        lazy = WHAT == "lazy parameters"
        self.first = nn.LazyLinear(96) if lazy else nn.Linear(32, 96)
        self.second = nn.LazyLinear(32) if lazy else nn.Linear(96, 32)
        self.head = nn.Linear(32, 32)

    def body(self, x: Tensor) -> Tensor:
        # On a CPU, compiled dropout in bf16 rounds differently from eager's.
        drops = self.training and not WHAT.startswith("exact head")
        return self.second(F.dropout(F.gelu(self.first(x)), 0.1, drops))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        match WHAT:
            case "unread draws":
                F.dropout(y, 0.5)
                torch.rand(3)
                return y * F.dropout(x, 0.5).shape[0]
            case "asks is_compiling" | "compiles itself, asks is_compiling":
                return 2 * y if torch.compiler.is_compiling() else y
            case "own backward in torch.func":
                return y + torch.func.grad(lambda v: Tripled.apply(v).sum())(y.detach())
            case "one_hot":
                classes = F.one_hot(x[:, 0].abs().long() % 5, 5)
                return y + classes.float().sum(-1, keepdim=True)
            case "interpolate":
                picture = F.interpolate(y.view(-1, 2, 4, 4), scale_factor=2.0, mode="bicubic")
                return y + picture.flatten(1).mean(-1, keepdim=True)
            case "exact head" | "exact head, backward inside":
                with torch.autocast("cpu", enabled=False):
                    return self.head(y.float())
        return y


class Tripled(torch.autograd.Function):
    """Sine, with a backward that is not its derivative."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.sin()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 3 * gradient * x.cos()


def seen_by_hook(module: nn.Module, arguments: object, output: object) -> None:
    seen.append(type(module).__name__)


def packed(tensor: Tensor) -> Tensor:
    seen.append(str(tuple(tensor.shape)))
    return tensor


def called(x: Tensor) -> Tensor:
    if WHAT == "saved_tensors_hooks":
        with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
            return model(x)
    with torch.autocast("cpu", torch.bfloat16, enabled=WHAT.startswith("exact head")):
        return model(x)


def digest(tensors: Any) -> str:
    made = hashlib.sha256()
    for tensor in tensors:
        made.update(b"" if tensor is None else tensor.detach().contiguous().numpy().tobytes())
    return made.hexdigest()[:16]


torch.manual_seed(3)
random.seed(3)
seen: list[str] = []
model: Any = Net()
if WHAT.startswith("compiles itself"):
    model = torch.compile(model, backend="aot_eager")
first = torch.randn(8, 32)
optimizer = None if WHAT == "lazy parameters" else torch.optim.AdamW(model.parameters(), 1e-3)
for step in range(STEPS):
    if WHAT == "global hook" and step == 3:
        nn.modules.module.register_module_forward_hook(seen_by_hook)
    x = torch.randn(64, 32)
    output = called(x)
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), 1e-3)
    loss = (output.float() - x).square().mean()
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=WHAT.endswith("inside")):
        loss.backward()
    print("step", step, loss.item().hex(), digest(p.grad for p in model.parameters()))
    optimizer.step()
    if WHAT == "evaluates":
        with torch.no_grad():
            sampled = first
            for _ in range(10):
                sampled = model.eval()(sampled)
            print("evaluated", digest([sampled, model.train()(first)]))
    draws = torch.rand(1).item(), random.random()
    print("after", digest(model.parameters()), *draws, len(seen), sorted(set(seen)))
