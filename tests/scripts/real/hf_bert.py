"""transformers' BERT from a config: masked words, padded rows, in a plain loop."""

import torch
from real import STEPS, tell, tell_state
from transformers import BertConfig, BertForMaskedLM

config = BertConfig(
    vocab_size=128,
    hidden_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=256,
    max_position_embeddings=64,
)
model = BertForMaskedLM(config)
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    tokens = torch.randint(4, config.vocab_size, (12, 64))
    lengths = torch.randint(32, 65, (12, 1))
    mask = (torch.arange(64) < lengths).long()
    hidden = (torch.rand(tokens.shape) < 0.15) & mask.bool()
    labels = tokens.masked_fill(~hidden, -100)
    optimizer.zero_grad()
    outputs = model(
        input_ids=tokens.masked_fill(hidden, 3),
        attention_mask=mask,
        token_type_ids=torch.zeros_like(tokens),
        labels=labels,
    )
    outputs.loss.backward()
    optimizer.step()
    tell(step, outputs.loss)
tell_state(model)
