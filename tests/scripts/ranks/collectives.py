"""A model that talks to the other ranks in its forward and, through autograd, in its backward."""

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as fc
import torch.nn.functional as F
from together import STEPS, WIDTH, begin, end, tell
from torch import Tensor, nn


class Talkative(nn.Module):
    """Layers of gathering what all ranks have, and of scattering the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        group = dist.group.WORLD
        for layer in self.layers:
            x = self.dropout(F.gelu(layer(x)))
            mean = fc.all_reduce(x.detach().mean(0), "avg" if x.is_cuda else "sum", group)
            x = fc.all_gather_tensor_autograd(F.gelu(x - mean).exp(), 0, group)
            x = fc.reduce_scatter_tensor_autograd(F.gelu(x).tanh(), "sum", 0, group)
        return F.gelu(x).square().mean()


begin()
model = Talkative()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
torch.manual_seed(1 + dist.get_rank())
for step in range(STEPS):
    optimizer.zero_grad()
    loss = model(torch.randn(256, WIDTH))
    loss.backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
    optimizer.step()
    tell(step, loss)
end(model.parameters())
