"""A GAN: two models, two optimizers, and the discriminator called twice for one backward."""

import torch
from tiny import STEPS, WIDTH, Net, adam, batch, tell
from torch import nn
from torch.nn import functional as F

generator = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
discriminator = Net()
generators, discriminators = adam(generator), adam(discriminator)
for number in range(STEPS):
    real, noise = batch(), batch()
    discriminators.zero_grad()
    fake = generator(noise)
    truth, lie = discriminator(real), discriminator(fake.detach())
    loss = F.softplus(-truth).mean() + F.softplus(lie).mean()
    loss.backward()
    discriminators.step()
    generators.zero_grad()
    loss = F.softplus(-discriminator(fake)).mean()
    loss.backward()
    generators.step()
    tell(number, loss)
print(torch.rand(1).item())
