"""transformers' T5 from a config, an encoder and a decoder, in a plain loop."""

import torch
from hf_models import WORDS, t5
from real import STEPS, tell, tell_state

model = t5()
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    source = torch.randint(1, WORDS, (12, 48))
    target = torch.randint(1, WORDS, (12, 48))
    optimizer.zero_grad()
    loss = model(input_ids=source, labels=target).loss
    loss.backward()
    optimizer.step()
    tell(step, loss)
tell_state(model)
