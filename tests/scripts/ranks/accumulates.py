"""Data parallel; gradients of three batches are summed up, and sent with the last of them only."""

from contextlib import nullcontext

import torch
from together import GPT, STEPS, batch, begin, end, tell
from torch.nn.parallel import DistributedDataParallel

begin()
model = DistributedDataParallel(GPT(0.1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for step in range(STEPS):
    optimizer.zero_grad()
    for part in range(3):
        with model.no_sync() if part < 2 else nullcontext():
            loss = model(batch(3 * step + part))
            loss.backward()
    optimizer.step()
    tell(step, loss)
end(model.parameters())
