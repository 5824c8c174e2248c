"""Gradients clipped by their norm, and a penalty on the weights in the loss."""

import torch
from blocks import Transformer, batch, loss_of
from real import STEPS, tell, tell_state

model = Transformer()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    optimizer.zero_grad(set_to_none=False)
    loss = loss_of(model, *batch())
    loss = loss + 1e-4 * sum(p.square().sum() for p in model.parameters())
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    tell(step, loss)
    tell(step, norm)
tell_state(model)
