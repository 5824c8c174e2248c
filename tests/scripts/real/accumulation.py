"""Gradients of four micro-batches before each step."""

import torch
from blocks import Transformer, batch, loss_of
from real import STEPS, budgeted, tell, tell_state

model = Transformer()
budgeted(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    for _ in range(4):
        loss = loss_of(model, *batch()) / 4
        loss.backward()
        tell(step, loss)
    optimizer.step()
    optimizer.zero_grad()
tell_state(model)
