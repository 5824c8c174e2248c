"""`torch.compile` with the options given as arguments, `name=value`; eager without any."""

import sys

import torch
from tiny import STEPS, Net, adam, batch, step, tell

net = Net()
optimizer = adam(net)
options = dict(argument.split("=") for argument in sys.argv[1:])
model = torch.compile(net, backend="fastsa", options=options) if options else net
for number in range(STEPS):
    tell(number, step(model, optimizer, batch()))
