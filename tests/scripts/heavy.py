"""Parameters weigh more than activations, and the backward runs three times for each step."""

import torch
from tiny import STEPS, tell
from torch import nn
from torch.nn import functional as F


class Heavy(nn.Module):
    """1.5 MiB in six layers; a batch's activations are a fraction of that."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(256, 256) for _ in range(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = F.gelu(layer(x))
        return x


torch.manual_seed(0)
net = Heavy()
optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
for number in range(STEPS):
    optimizer.zero_grad()
    for _ in range(3):
        loss = net(torch.randn(64, 256)).square().mean()
        loss.backward()
    tell(number, loss)
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
