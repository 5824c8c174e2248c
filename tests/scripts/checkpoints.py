"""Checkpoints a layer, eagerly, and counts how often it runs: twice in each of 12 steps."""

import torch
from tiny import STEPS, Net, adam, batch, step, tell
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

forwards = 0


class Checkpointing(Net):
    @torch.compiler.disable
    def layer(self, x: Tensor) -> Tensor:
        return checkpoint(self.counted, x, use_reentrant=False)

    def counted(self, x: Tensor) -> Tensor:
        global forwards
        forwards += 1
        return self.dropout(F.gelu(self.second(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.first(x)))


net = Checkpointing()
optimizer = adam(net)
for number in range(STEPS):
    tell(number, step(net, optimizer, batch()))
print("forwards", forwards)
