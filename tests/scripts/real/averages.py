"""Moving averages: of the features, in a buffer that the forward updates, and of the weights."""

import torch
from blocks import Centred, batch, loss_of
from real import STEPS, tell, tell_state
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

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
