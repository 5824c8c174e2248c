"""Fine-tuning: the lower blocks are frozen, low-rank adapters are trained in the upper ones."""

import torch
from blocks import WIDTH, Transformer, batch, loss_of
from real import STEPS, tell, tell_state
from torch import Tensor, nn


class Adapted(nn.Module):
    """A frozen linear layer and what is added to it."""

    def __init__(self, layer: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Linear(layer.in_features, rank, bias=False)
        self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.up(self.down(self.dropout(x)))


model = Transformer(4).requires_grad_(False)
for block in list(model.blocks)[1:]:
    block.qkv, block.out = Adapted(block.qkv), Adapted(block.out)
model.head.requires_grad_(True)
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-2)
for step in range(STEPS):
    optimizer.zero_grad()
    loss = loss_of(model, *batch())
    loss.backward()
    optimizer.step()
    tell(step, loss)
print("width", WIDTH, "trained", len(trained))
tell_state(model)
