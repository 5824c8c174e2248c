"""Evaluates after every third step: under no_grad, then with gradients on."""

import torch
from tiny import STEPS, Net, adam, batch, step, tell

net = Net()
optimizer = adam(net)
held_out = batch()
for number in range(STEPS):
    tell(number, step(net, optimizer, batch()))
    if number % 3 == 2:
        net.eval()
        with torch.no_grad():
            tell(number, net(held_out).square().mean())
        tell(number, net(held_out).square().mean())
        net.train()
