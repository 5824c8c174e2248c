"""Takes memory between forward and backward, outside of the model: `hungry.py MIB [raises]`."""

import sys

import torch
from tiny import STEPS, Net, adam, batch, tell
from torch.nn import functional as F

extra = int(sys.argv[1]) << 20
net = Net()
optimizer = adam(net)
for number in range(STEPS):
    x = batch(8 * 1024)
    optimizer.zero_grad()
    out = net(x)
    scratch = torch.zeros(extra, dtype=torch.uint8)
    loss = F.mse_loss(out, x.sum(1, keepdim=True))
    del out
    loss.backward()
    del scratch
    optimizer.step()
    tell(number, loss)
if sys.argv[2:]:
    raise ValueError("mine")
