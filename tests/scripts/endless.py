"""Trains until somebody presses Ctrl-C: it does so itself, in the step that is named."""

import itertools
import os
import signal
import sys

from tiny import Net, adam, batch, step, tell

# A background job's children ignore Ctrl-C, and so would this one.
signal.signal(signal.SIGINT, signal.default_int_handler)
net = Net()
optimizer = adam(net)
for number in itertools.count():
    tell(number, step(net, optimizer, batch()))
    if number == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGINT)
