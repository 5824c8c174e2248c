"""A U-Net: skip connections, group norm, upsampling."""

import torch
from real import STEPS, tell, tell_state
from torch import Tensor, nn
from torch.nn import functional as F


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
