"""transformers' BERT from a config: masked words, padded rows, in a plain loop."""

import torch
from hf_models import bert, masked_words
from real import STEPS, tell, tell_state

model = bert()
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    words = masked_words()
    optimizer.zero_grad()
    outputs = model(**words)
    outputs.loss.backward()
    optimizer.step()
    tell(step, outputs.loss)
tell_state(model)
