"""Changes its parameters by hand."""

import torch
from tiny import STEPS, Net, batch, tell

net = Net()
for number in range(STEPS):
    loss = net(batch()).square().mean()
    loss.backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter -= 0.01 * parameter.grad
            parameter.grad = None
    tell(number, loss)
