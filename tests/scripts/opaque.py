"""A forward that the tracer may not look into."""

import torch
from tiny import STEPS, Net, adam, batch, step, tell
from torch import Tensor


class Opaque(Net):
    @torch.compiler.disable
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


net = Opaque()
optimizer = adam(net)
for number in range(STEPS):
    tell(number, step(net, optimizer, batch()))
