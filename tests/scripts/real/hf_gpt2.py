"""transformers' GPT-2 from a config, in a plain loop."""

import torch
from hf_models import WORDS, gpt2
from real import STEPS, budgeted, tell, tell_state

model = gpt2()
model.train()
budgeted(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    tokens = torch.randint(0, WORDS, (12, 64))
    optimizer.zero_grad()
    loss = model(input_ids=tokens, labels=tokens).loss
    loss.backward()
    optimizer.step()
    tell(step, loss)
tell_state(model)
