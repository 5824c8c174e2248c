"""Trains a model in evaluation mode, which keeps its dropout still."""

from tiny import STEPS, Net, adam, batch, step, tell

net = Net().eval()
optimizer = adam(net)
for number in range(STEPS):
    tell(number, step(net, optimizer, batch()))
