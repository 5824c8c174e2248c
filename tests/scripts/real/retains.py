"""Two losses of one forward, each with its own backward: the first retains the graph."""

import torch
from blocks import Transformer, batch
from real import STEPS, tell, tell_state
from torch.nn import functional as F

model = Transformer()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    tokens, following = batch()
    optimizer.zero_grad()
    logits = model(tokens)
    loss = F.cross_entropy(logits.flatten(0, 1), following.flatten())
    loss.backward(retain_graph=True)
    penalty = 1e-3 * logits.logsumexp(-1).square().mean()
    penalty.backward()
    optimizer.step()
    tell(step, loss)
    tell(step, penalty)
tell_state(model)
