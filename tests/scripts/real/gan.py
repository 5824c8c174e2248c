"""A DCGAN as in PyTorch's tutorial: two models, two optimizers, two backwards before one step."""

import torch
from real import STEPS, tell, tell_state
from torch import Tensor, nn

NOISE, WIDTH, ROWS = 16, 16, 8


def up(inside: int, out: int) -> list[nn.Module]:
    convolution = nn.ConvTranspose2d(inside, out, 4, 2, 1, bias=False)
    return [convolution, nn.BatchNorm2d(out), nn.ReLU(True)]


def same(width: int, activation: nn.Module) -> list[nn.Module]:
    return [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), activation]


def down(inside: int, out: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inside, out, 4, 2, 1, bias=False)
    return [convolution, nn.BatchNorm2d(out), nn.LeakyReLU(0.2, inplace=True), nn.Dropout2d(0.2)]


class Generator(nn.Module):
    """Images of noise."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(NOISE, WIDTH, 8, 1, 0, bias=False),
            *up(WIDTH, WIDTH),
            *up(WIDTH, WIDTH),
            *same(WIDTH, nn.ReLU(True)),
            *same(WIDTH, nn.ReLU(True)),
            *same(WIDTH, nn.ReLU(True)),
            nn.Conv2d(WIDTH, 1, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, noise: Tensor) -> Tensor:
        return self.main(noise)


class Discriminator(nn.Module):
    """Tells images from those."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, WIDTH, 3, padding=1),
            *same(WIDTH, nn.GELU()),
            *same(WIDTH, nn.GELU()),
            *down(WIDTH, WIDTH),
            *down(WIDTH, WIDTH),
            nn.Flatten(),
            nn.Linear(WIDTH * 8 * 8, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.main(images).flatten()


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
