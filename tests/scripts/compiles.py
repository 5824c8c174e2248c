"""Compiles its model itself: all of it (`hooked`: a hook on that), or `inside` one layer of it."""

import sys

import torch
from tiny import STEPS, Net, adam, batch, step, tell

net = Net()
optimizer = adam(net)
if sys.argv[1:] == ["inside"]:
    net.first.compile(backend="aot_eager")
    model = net
else:
    model = torch.compile(net, backend="aot_eager")
    if sys.argv[1:] == ["hooked"]:
        model.register_forward_hook(lambda module, inputs, output: output * 2)
for number in range(STEPS):
    tell(number, step(model, optimizer, batch()))
