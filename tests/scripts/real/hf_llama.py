"""transformers' Llama from a config, with a learning rate schedule, in a plain loop."""

import torch
from hf_models import WORDS, llama
from real import STEPS, tell, tell_state
from transformers import get_cosine_schedule_with_warmup

model = llama()
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
schedule = get_cosine_schedule_with_warmup(optimizer, 2, STEPS)
for step in range(STEPS):
    tokens = torch.randint(0, WORDS, (12, 64))
    outputs = model(input_ids=tokens, labels=tokens)
    outputs.loss.backward()
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    tell(step, outputs.loss)
tell_state(model)
