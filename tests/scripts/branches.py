"""A forward that looks at its data in between: a graph break, so two regions."""

from tiny import STEPS, Net, adam, batch, step, tell
from torch import Tensor
from torch.nn import functional as F


class Branching(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(F.gelu(self.first(x)))
        if x.mean() > 0:
            x = x * 2
        x = self.dropout(F.gelu(self.second(x)))
        return self.head(x)


net = Branching()
optimizer = adam(net)
for number in range(STEPS):
    tell(number, step(net, optimizer, batch()))
