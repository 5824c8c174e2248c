"""Data parallel over uneven data: later ranks have more batches, and a smaller one at the end."""

import torch
from together import GPT, RANK, STEPS, batch, begin, end, tell
from torch.nn.parallel import DistributedDataParallel

begin()
model = DistributedDataParallel(GPT())
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
batches = [batch(step) for step in range(STEPS + 2 * RANK)]
if RANK:
    batches[-1] = batches[-1][:20]
with model.join():
    for step, words in enumerate(batches):
        optimizer.zero_grad()
        loss = model(words)
        loss.backward()
        optimizer.step()
        tell(step, loss)
end(model.parameters())
