"""bfloat16 by autocast."""

import torch
from tiny import STEPS, Net, adam, batch, tell
from torch.nn import functional as F

net = Net()
optimizer = adam(net)
for number in range(STEPS):
    x = batch()
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.mse_loss(net(x).float(), x.sum(1, keepdim=True))
    loss.backward()
    optimizer.step()
    tell(number, loss)
