"""Mixed precision on the CPU: bf16, or fp16 with a gradient scaler (`scaled`)."""

import sys

import torch
from blocks import Transformer, batch, loss_of
from real import STEPS, tell, tell_state

kind = sys.argv[1]
dtype = torch.bfloat16 if kind == "bf16" else torch.float16
model = Transformer()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=kind == "scaled")
for step in range(STEPS):
    tokens, following = batch()
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=dtype):
        loss = loss_of(model, tokens, following)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    tell(step, loss)
tell_state(model)
