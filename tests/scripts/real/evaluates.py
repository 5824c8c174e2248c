"""Evaluates every third step, without gradients."""

import torch
from blocks import ROWS, Transformer, batch, loss_of
from real import STEPS, tell, tell_state


@torch.no_grad()
def evaluate() -> torch.Tensor:
    model.eval()
    losses = [loss_of(model, *batch(2 * ROWS)) for _ in range(2)]
    model.train()
    return torch.stack(losses).mean()


model = Transformer()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    optimizer.zero_grad()
    loss = loss_of(model, *batch())
    loss.backward()
    optimizer.step()
    tell(step, loss)
    if step % 3 == 1:
        tell(step, evaluate())
tell_state(model)
