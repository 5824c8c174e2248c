"""Accelerate: `prepare`, `backward`, and clipped gradients."""

import torch
from accelerate import Accelerator
from blocks import ROWS, Transformer, batch, loss_of
from real import STEPS, tell, tell_state
from torch.utils.data import DataLoader, TensorDataset

accelerator = Accelerator(cpu=True)
model = Transformer()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
loader = DataLoader(TensorDataset(*batch(ROWS * STEPS)), batch_size=ROWS, shuffle=True)
model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
model.train()
for step, (tokens, following) in enumerate(loader):
    loss = loss_of(model, tokens, following)
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    tell(step, loss)
tell_state(accelerator.unwrap_model(model))
