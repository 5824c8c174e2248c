"""Raises in the middle of the step given: in its forward, or in its backward."""

import sys

from tiny import STEPS, Net, adam, batch, step, tell
from torch import Tensor

PHASE, AT = sys.argv[1], int(sys.argv[2])


def fail(gradient: Tensor) -> None:
    raise ValueError("mine")


class Breaking(Net):
    number = 0

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.second(self.first(x))
        if self.number == AT and PHASE == "forward":
            raise ValueError("mine")
        if self.number == AT:
            hidden.register_hook(fail)
        return self.head(hidden)


net = Breaking()
optimizer = adam(net)
for number in range(STEPS):
    net.number = number
    tell(number, step(net, optimizer, batch()))
