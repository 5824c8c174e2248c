"""Trains with a gradient penalty: gradients of gradients, always, later, or never as asked."""

from __future__ import annotations

import sys

import torch
from torch import nn

WHAT = sys.argv[1]

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(6):
    x = torch.randn(32, 16, requires_grad=True)
    loss = model(x).square().mean()
    twice = WHAT == "twice"
    (gradient,) = torch.autograd.grad(loss, x, create_graph=twice, retain_graph=True)
    if twice:
        loss = loss + (gradient.norm(dim=1) - 1).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("step", step, loss.item().hex())
