"""A conv net as timm writes them: batch norm, squeeze and excite, stochastic depth."""

import torch
from real import STEPS, budgeted, tell, tell_state
from torch import Tensor, nn
from torch.nn import functional as F


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

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, 16, 3, 2)
        self.blocks = nn.Sequential(*(InvertedResidual(16) for _ in range(4)))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(images)).mean((2, 3)))


model = ConvNet()
budgeted(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
for step in range(STEPS):
    images, labels = torch.randn(8, 3, 64, 64), torch.randint(0, 10, (8,))
    optimizer.zero_grad()
    loss = criterion(model(images), labels)
    loss.backward()
    optimizer.step()
    tell(step, loss)
tell_state(model)
