"""A model that returns its loss and logits that nobody uses, as those of transformers do."""

import torch
from tiny import STEPS, tell
from torch import nn
from torch.nn import functional as F

WORDS, WIDTH = 2000, 32


class Language(nn.Module):
    """The logits are most of what it needs."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)

    def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.head(F.gelu(self.layer(self.words(ids))))
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"loss": loss, "logits": logits}


torch.manual_seed(0)
net = Language()
optimizer = torch.optim.SGD(net.parameters(), lr=1e-1)
for number in range(STEPS):
    out = net(torch.randint(0, WORDS, (4, 64)), torch.randint(0, WORDS, (4, 64)))
    out["loss"].backward()
    optimizer.step()
    optimizer.zero_grad()
    tell(number, out["loss"])
