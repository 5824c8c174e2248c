"""Seeds nothing: no two runs of it are the same."""

import random

import torch
from torch import nn

net = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for number in range(12):
    optimizer.zero_grad()
    loss = net(torch.randn(4096, 64) * random.random()).square().mean()
    loss.backward()
    optimizer.step()
    print(f"step {number} {loss.item().hex()}")
