"""A U-Net: skip connections, group norm, upsampling."""

import torch
from images import UNet
from real import STEPS, tell, tell_state
from torch.nn import functional as F

model = UNet()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(STEPS):
    images, labels = torch.randn(6, 1, 64, 64), torch.randint(0, 2, (6, 64, 64))
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    tell(step, loss)
tell_state(model)
