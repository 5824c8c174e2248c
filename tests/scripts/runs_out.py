"""Runs out of memory in step 2: `runs_out.py WHERE`.

loss, model, backward: an allocation of a petabyte there. limit MIB: the address space is limited to
so much more than what lives from step to step. exits: catches it and exits with code 5. retries:
catches it, takes a smaller batch and goes on. wraps: raises an error of its own instead. other:
some other error.
"""

import os
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from tiny import Net, adam, batch, tell
from torch import Tensor, nn
from torch.nn import functional as F

PETABYTE = 1 << 50
FATAL = int(os.environ.get("FATAL", "2"))
STEPS = 5
where = sys.argv[1]
number = 0


def too_much() -> Tensor:
    return torch.empty(PETABYTE, dtype=torch.uint8)


class Greedy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        if number == FATAL:
            too_much()
        return gradient


class Inner(Net):
    @torch._dynamo.disable
    def greedy(self, x: Tensor) -> Tensor:
        if number == FATAL:
            too_much()
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.greedy(super().forward(x))


def loss_of(net: nn.Module, x: Tensor) -> Tensor:
    out = net(x)
    if where in ("loss", "exits", "wraps", "retries") and number == FATAL and len(x) > 512:
        too_much()
    if where == "backward":
        out = Greedy.apply(out)
    return F.mse_loss(out, x.sum(1, keepdim=True))


def limited() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + (int(sys.argv[2]) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    optimizer.zero_grad()
    loss = loss_of(net, x)
    loss.backward()
    optimizer.step()
    tell(number, loss)


def main() -> None:
    global number
    net = Inner() if where == "model" else Net()
    optimizer = adam(net)
    for number in range(STEPS):
        x = batch(1 << 16 if where == "limit" else 1 << 10)
        if where == "limit" and number == FATAL:
            limited()
        if where == "other" and number == FATAL:
            raise RuntimeError("mine")
        try:
            train(net, optimizer, x)
        except RuntimeError as error:
            if where == "exits":
                sys.exit(5)
            if where == "wraps":
                raise ValueError("training failed") from error
            if where != "retries":
                raise
            train(net, optimizer, x[:512])


if __name__ == "__main__":
    main()
