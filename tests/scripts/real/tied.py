"""The embedding's weight is the head's."""

import torch
from blocks import Transformer, batch, loss_of
from real import STEPS, tell, tell_state

model = Transformer(tied=True)
optimizer = torch.optim.Adafactor(model.parameters(), lr=1e-2)
for step in range(STEPS):
    optimizer.zero_grad()
    loss = loss_of(model, *batch())
    loss.backward()
    optimizer.step()
    tell(step, loss)
tell_state(model)
