"""transformers' ViT from a config: images and classes, in a plain loop."""

import torch
from real import STEPS, tell, tell_state
from transformers import ViTConfig, ViTForImageClassification

config = ViTConfig(
    image_size=32,
    patch_size=4,
    hidden_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=256,
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.1,
    num_labels=10,
)
model = ViTForImageClassification(config)
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(STEPS):
    images, labels = torch.randn(12, 3, 32, 32), torch.randint(0, 10, (12,))
    optimizer.zero_grad()
    loss = model(pixel_values=images, labels=labels).loss
    loss.backward()
    optimizer.step()
    tell(step, loss)
tell_state(model)
