"""A DataLoader with one worker: forked, or spawned with `spawn` as argument."""

import sys

import torch
from tiny import STEPS, WIDTH, Net, adam, step, tell
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset[Tensor]):
    def __len__(self) -> int:
        return 512 * STEPS

    def __getitem__(self, index: int) -> Tensor:
        return torch.full((WIDTH,), (index % 97) / 97)


def main() -> None:
    net = Net()
    optimizer = adam(net)
    way = sys.argv[1] if len(sys.argv) > 1 else "fork"
    loader = DataLoader(Rows(), batch_size=512, num_workers=1, multiprocessing_context=way)
    for number, x in enumerate(loader):
        tell(number, step(net, optimizer, x))


if __name__ == "__main__":
    main()
