"""Contrastive: two views of a batch go through the model before one backward."""

import torch
from blocks import Transformer, batch
from real import STEPS, tell, tell_state
from torch.nn import functional as F

model = Transformer(2)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    tokens, following = batch()
    optimizer.zero_grad()
    first, second = model(tokens).mean(1), model(following).mean(1)
    similar = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    loss = F.cross_entropy(similar / 0.1, torch.arange(len(tokens)))
    loss.backward()
    optimizer.step()
    tell(step, loss)
tell_state(model)
