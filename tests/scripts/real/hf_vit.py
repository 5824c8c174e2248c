"""transformers' ViT from a config: images and classes, in a plain loop."""

import torch
from hf_models import vit
from real import STEPS, tell, tell_state

model = vit()
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
