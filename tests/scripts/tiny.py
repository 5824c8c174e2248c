"""What the tiny training programs share: a small net, its batches, and one step."""

from __future__ import annotations

import atexit

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim import optimizer as optim

WIDTH = 128
STEPS = 12


class Net(nn.Module):
    """Three layers with dropout and a head."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.third = nn.Linear(width, width)
        self.head = nn.Linear(width, 1)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(F.gelu(self.first(x)))
        x = self.dropout(F.gelu(self.second(x)))
        x = self.dropout(F.gelu(self.third(x)))
        return self.head(x)


def adam(*modules: nn.Module) -> Optimizer:
    """An optimizer of all their parameters."""
    parameters = [p for module in modules for p in module.parameters()]
    return torch.optim.Adam(parameters, lr=1e-3)


def batch(rows: int = 1024) -> Tensor:
    return torch.randn(rows, WIDTH)


def step(net: nn.Module, optimizer: Optimizer, x: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss = F.mse_loss(net(x), x.sum(1, keepdim=True))
    loss.backward()
    optimizer.step()
    return loss


def tell(number: int, loss: Tensor) -> None:
    """Print a loss to the last bit."""
    print(f"step {number} {loss.item().hex()}", flush=True)


def check_hooks() -> None:
    """Say what is left of a hook on torch; to be called when the script has ended."""
    left = []
    if nn.Module.__call__ is not nn.Module._wrapped_call_impl:
        left.append("Module.__call__")
    if torch.autograd.backward.__qualname__ != "backward":
        left.append("autograd.backward")
    if optim._global_optimizer_post_hooks or optim._global_optimizer_pre_hooks:
        left.append("optimizer hooks")
    if torch._C._autograd._profiler_enabled():
        left.append("profiler")
    print("left behind:", ", ".join(left) or "nothing", flush=True)


torch.manual_seed(0)
atexit.register(check_hooks)
