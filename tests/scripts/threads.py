"""Trains while other threads compute, one of them with a model of its own."""

import threading

import torch
from tiny import STEPS, WIDTH, Net, adam, batch, step, tell

ended = threading.Event()
draws = torch.Generator().manual_seed(1)
other = Net()


def compute() -> None:
    while not ended.is_set():
        torch.randn(64, 64, generator=draws).sum()


def train() -> None:
    inputs = torch.zeros(4, WIDTH)
    while not ended.is_set():
        (inputs @ other.first.weight).sum().backward()
        other.first.zero_grad()


net = Net()
optimizer = adam(net)
threads = [threading.Thread(target=compute), threading.Thread(target=train)]
for thread in threads:
    thread.start()
for number in range(STEPS):
    tell(number, step(net, optimizer, batch()))
ended.set()
for thread in threads:
    thread.join()
