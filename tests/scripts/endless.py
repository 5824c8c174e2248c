"""Trains until somebody presses Ctrl-C."""

import itertools
import time

from tiny import Net, adam, batch, step, tell

net = Net()
optimizer = adam(net)
for number in itertools.count():
    tell(number, step(net, optimizer, batch()))
    time.sleep(0.02)
