"""transformers' GPT-2 from a config, in a plain loop."""

import torch
from real import STEPS, budgeted, tell, tell_state
from transformers import GPT2Config, GPT2LMHeadModel

config = GPT2Config(vocab_size=128, n_positions=64, n_embd=64, n_layer=3, n_head=4)
model = GPT2LMHeadModel(config)
model.train()
budgeted(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    tokens = torch.randint(0, config.vocab_size, (12, 64))
    optimizer.zero_grad()
    loss = model(input_ids=tokens, labels=tokens).loss
    loss.backward()
    optimizer.step()
    tell(step, loss)
tell_state(model)
