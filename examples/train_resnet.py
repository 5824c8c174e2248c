"""Train a small ResNet on images the script makes: a plain eager loop."""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

Batch = tuple[Tensor, Tensor]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a residual, which is projected when the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """A stem and three stages of basic blocks, each stage half the size and twice the width."""

    def __init__(self, blocks: int, width: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        stages: list[nn.Module] = []
        inputs = width
        for stage in range(3):
            outputs = width * 2**stage
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(BasicBlock(inputs, outputs, stride))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.stem(x))
        return self.head(x.mean(dim=(2, 3)))


class Images:
    """Every class is a fixed random pattern; an image is its pattern under noise."""

    def __init__(self, classes: int, size: int, device: str) -> None:
        coarse = torch.randn(classes, 3, size // 4, size // 4)
        self.patterns = F.interpolate(coarse, size=(size, size), mode="bilinear")
        self.device = device

    def batch(self, batch_size: int) -> Batch:
        y = torch.randint(len(self.patterns), (batch_size,))
        x = self.patterns[y]
        x = x + torch.randn_like(x)
        return x.to(self.device), y.to(self.device)


@torch.no_grad()
def accuracy(model: nn.Module, make_batch: Callable[[], Batch], batches: int = 4) -> float:
    model.eval()
    hits = torch.cat(
        [model(x).argmax(dim=1) == y for x, y in (make_batch() for _ in range(batches))]
    )
    model.train()
    return float(hits.float().mean())


def build(args: argparse.Namespace) -> tuple[nn.Module, Optimizer, Callable[[], Batch]]:
    """The model, its optimizer, and a function that makes a batch."""
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    images = Images(args.classes, args.image_size, device)
    model = ResNet(args.blocks, args.width, args.classes).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=5e-4)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"ResNet with {parameters / 1e6:.2f} M parameters on {device}")
    return model, optimizer, lambda: images.batch(args.batch_size)


def train_step(model: nn.Module, optimizer: Optimizer, batch: Batch) -> float:
    """One step; its loss."""
    x, y = batch
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=96)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--blocks", type=int, default=3, help="basic blocks per stage")
    parser.add_argument("--width", type=int, default=32, help="channels of the first stage")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    return parser.parse_args(arguments)


def main() -> None:
    args = parse_args()
    model, optimizer, make_batch = build(args)
    seconds = []
    for step in range(args.steps):
        start = time.perf_counter()
        loss = train_step(model, optimizer, make_batch())
        # Nine significant digits tell any two float32 values apart.
        print(f"step {step:3d}  loss {loss:#.9g}", flush=True)
        seconds.append(time.perf_counter() - start)
    if seconds:
        print(f"median step {statistics.median(seconds):.3f} s")
    print(f"accuracy {accuracy(model, make_batch):.3f}")


if __name__ == "__main__":
    main()
