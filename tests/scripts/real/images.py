"""Models of images, for the scripts that train them: a conv net, a U-Net, a GAN's two."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NOISE, WIDTH = 16, 16


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm, SiLU."""

    def __init__(self, inside: int, out: int, size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inside, out, size, stride, size // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out),
            nn.SiLU(inplace=True),
        )


class SqueezeExcite(nn.Module):
    """Weighs the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = x.mean((2, 3), keepdim=True)
        return x * self.expand(F.silu(self.reduce(weights))).sigmoid()


class DropPath(nn.Module):
    """Leaves the residual branch of a row out, now and then."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = x.new_empty((len(x), 1, 1, 1)).bernoulli_(1 - self.rate)
        return x * kept.div_(1 - self.rate)


class InvertedResidual(nn.Module):
    """An EfficientNet block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvNormAct(width, 2 * width, 1),
            ConvNormAct(2 * width, 2 * width, 3, groups=2 * width),
            SqueezeExcite(2 * width),
            nn.Conv2d(2 * width, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.drop_path = DropPath(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.layers(x))


class ConvNet(nn.Module):
    """A stem, blocks, a head."""

    def __init__(self, blocks: int = 4) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, 16, 3, 2)
        self.blocks = nn.Sequential(*(InvertedResidual(16) for _ in range(blocks)))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(images)).mean((2, 3)))


class Twice(nn.Sequential):
    """Two convolutions with group norm."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__(
            nn.Conv2d(inside, out, 3, padding=1),
            nn.GroupNorm(4, out),
            nn.SiLU(),
            nn.Dropout2d(0.1),
            nn.Conv2d(out, out, 3, padding=1),
            nn.GroupNorm(4, out),
            nn.SiLU(),
        )


class UNet(nn.Module):
    """Three levels down and up again."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down = nn.ModuleList([Twice(1, width), Twice(width, 2 * width)])
        self.middle = Twice(2 * width, 4 * width)
        self.rise = nn.ModuleList(
            [
                nn.ConvTranspose2d(4 * width, 2 * width, 2, 2),
                nn.ConvTranspose2d(2 * width, width, 2, 2),
            ]
        )
        self.up = nn.ModuleList([Twice(4 * width, 2 * width), Twice(2 * width, width)])
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down in self.down:
            skips.append(down(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.middle(x)
        for rise, up in zip(self.rise, self.up, strict=True):
            x = up(torch.cat([rise(x), skips.pop()], 1))
        return self.head(x)


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
