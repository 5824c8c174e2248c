"""A DCGAN as in PyTorch's tutorial: two models, two optimizers, two backwards before one step."""

import torch
from images import NOISE, Discriminator, Generator
from real import STEPS, tell, tell_state
from torch import nn

ROWS = 8

generator, discriminator = Generator(), Discriminator()
criterion = nn.BCEWithLogitsLoss()
optimizer_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
for step in range(STEPS):
    discriminator.zero_grad()
    real = torch.randn(ROWS, 1, 32, 32)
    loss_real = criterion(discriminator(real), torch.ones(ROWS))
    loss_real.backward()
    fake = generator(torch.randn(ROWS, NOISE, 1, 1))
    loss_fake = criterion(discriminator(fake.detach()), torch.zeros(ROWS))
    loss_fake.backward()
    optimizer_d.step()
    generator.zero_grad()
    loss = criterion(discriminator(fake), torch.ones(ROWS))
    loss.backward()
    optimizer_g.step()
    tell(step, loss_real + loss_fake)
    tell(step, loss)
tell_state(generator, discriminator)
