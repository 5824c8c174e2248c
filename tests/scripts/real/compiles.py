"""Compiles its model itself, as many scripts do: by `torch.compile` or `Module.compile`."""

import sys

import torch
from blocks import Transformer, batch, loss_of
from real import STEPS, tell, tell_state

how, backend = sys.argv[1:]
net = model = Transformer()
if how == "wrapped":
    model = torch.compile(net, backend=backend)
elif how == "in-place":
    net.compile(backend=backend)
elif how == "blocks":
    for block in net.blocks:
        block.compile(backend=backend)
elif how == "function":
    loss_of = torch.compile(loss_of, backend=backend)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    model.train()
    optimizer.zero_grad()
    loss = loss_of(model, *batch())
    loss.backward()
    optimizer.step()
    tell(step, loss)
tell_state(net)
