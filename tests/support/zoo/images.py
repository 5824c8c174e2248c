"""Models of images: those of the real scripts, and layouts in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.real.images import NOISE, ConvNet, Discriminator, Generator, UNet
from support.models import TinyResNet
from support.zoo.loops import of_loss
from support.zoo.specimen import STEPS, Backend, Call, Loop, Specimen, Training


def classes(images: tuple[int, ...], channels_last: bool = False) -> Loop:
    """Images of ten classes, with momentum."""

    def loop(training: Training) -> None:
        optimizer = torch.optim.SGD(
            training.model.parameters(), lr=0.05, momentum=0.9, nesterov=True
        )
        for _ in range(STEPS):
            batch, labels = torch.randn(images), torch.randint(0, 10, images[:1])
            if channels_last:
                batch = batch.to(memory_format=torch.channels_last)
            optimizer.zero_grad()
            loss = F.cross_entropy(training.call(batch), labels, label_smoothing=0.1)
            loss.backward()
            training.see(loss)
            training.see_all()
            optimizer.step()

    return loop


def segments(call: Call) -> Tensor:
    images, labels = torch.randn(2, 1, 32, 32), torch.randint(0, 2, (2, 32, 32))
    return F.cross_entropy(call(images), labels)


def channels_last() -> nn.Module:
    model = TinyResNet(blocks=2)
    return model.to(memory_format=torch.channels_last)


def gan() -> nn.Module:
    return nn.ModuleDict({"generator": Generator(), "discriminator": Discriminator()})


def both(model: nn.Module, backend: Backend) -> Call:
    for each in model.children():
        each.compile(backend=backend, dynamic=False)
    return model


def adversarial(training: Training) -> None:
    """Two optimizers, two backwards before one step; the discriminator's forward runs twice."""
    rows, criterion = 2, nn.BCEWithLogitsLoss()
    models: dict[str, Callable[[Tensor], Tensor]] = dict(training.model.named_children())
    generator, discriminator = models["generator"], models["discriminator"]
    assert isinstance(generator, nn.Module)
    assert isinstance(discriminator, nn.Module)
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for _ in range(STEPS):
        discriminator.zero_grad()
        real = torch.randn(rows, 1, 32, 32)
        fake = generator(torch.randn(rows, NOISE, 1, 1))
        loss_real = criterion(discriminator(real), torch.ones(rows))
        loss_fake = criterion(discriminator(fake.detach()), torch.zeros(rows))
        loss_real.backward()
        loss_fake.backward()
        optimizer_d.step()
        generator.zero_grad()
        loss = criterion(discriminator(fake), torch.ones(rows))
        loss.backward()
        training.see(loss_real, loss_fake, loss)
        training.see_all()
        optimizer_g.step()


IMAGES = {
    "conv net": Specimen(lambda: ConvNet(2), {"momentum": classes((2, 3, 32, 32))}),
    "u-net": Specimen(UNet, {"plain": of_loss(segments)}),
    "channels last": Specimen(channels_last, {"momentum": classes((2, 3, 16, 16), True)}),
    "gan": Specimen(gan, {"adversarial": adversarial}, both, regions=2),
}
