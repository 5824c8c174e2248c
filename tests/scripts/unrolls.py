"""Trains a model whose forward is a long loop, which a tracer unrolls."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """A cell that runs many times."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(60):
            x = x + torch.dropout(self.cell(x), 0.1, train=True).tanh() / 60
        return x


torch.manual_seed(0)
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(6):
    loss = model(torch.randn(4, 8)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("step", step, loss.item().hex(), torch.rand(1).item())
