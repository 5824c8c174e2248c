"""transformers' Llama from a config, with a learning rate schedule, in a plain loop."""

import torch
from real import STEPS, tell, tell_state
from transformers import LlamaConfig, LlamaForCausalLM, get_cosine_schedule_with_warmup

config = LlamaConfig(
    vocab_size=128,
    hidden_size=64,
    intermediate_size=192,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
)
model = LlamaForCausalLM(config)
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
schedule = get_cosine_schedule_with_warmup(optimizer, 2, STEPS)
for step in range(STEPS):
    tokens = torch.randint(0, config.vocab_size, (12, 64))
    outputs = model(input_ids=tokens, labels=tokens)
    outputs.loss.backward()
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    tell(step, outputs.loss)
tell_state(model)
