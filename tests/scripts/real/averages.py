"""Moving averages: of the features, in a buffer that the forward updates, and of the weights."""

import torch
from blocks import WIDTH, Transformer, batch, loss_of
from real import STEPS, tell, tell_state
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Centred(Transformer):
    """Takes the moving average of its features away."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if self.training:
            with torch.no_grad():
                self.average.lerp_(x.mean((0, 1)), 0.1)
        return self.head((x - self.average).tanh())


model = Centred()
shadow = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    optimizer.zero_grad()
    loss = loss_of(model, *batch())
    loss.backward()
    optimizer.step()
    shadow.update_parameters(model)
    tell(step, loss)
tell_state(model, shadow)
