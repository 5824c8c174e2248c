"""transformers' T5 from a config, an encoder and a decoder, in a plain loop."""

import torch
from real import STEPS, tell, tell_state
from transformers import T5Config, T5ForConditionalGeneration

config = T5Config(
    vocab_size=128,
    d_model=64,
    d_kv=16,
    d_ff=192,
    num_layers=2,
    num_heads=4,
    decoder_start_token_id=0,
)
model = T5ForConditionalGeneration(config)
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    source = torch.randint(1, config.vocab_size, (12, 48))
    target = torch.randint(1, config.vocab_size, (12, 48))
    optimizer.zero_grad()
    loss = model(input_ids=source, labels=target).loss
    loss.backward()
    optimizer.step()
    tell(step, loss)
tell_state(model)
