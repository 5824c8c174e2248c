"""Trains, and does something in mid-training that a compiled model must not get in the way of."""

from __future__ import annotations

import atexit
import hashlib
import signal
import sys
import threading
import warnings
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

WHAT = sys.argv[1]
STEPS = 8
SCHEDULE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.25, 0.6, 0.12)  # with these eager and compiled are the same
PLACES = {
    "measured": ("fastsa.runtime.plan_request", "measure"),
    "planned": ("fastsa.runtime.selector", "solve"),
    "partitioned": ("fastsa.runtime.partition", "_check_order"),
}
MARK = 0


class Batch(Tensor):
    """As data libraries have them."""


class Preempted(Exception):
    """As a cluster tells a job to save its state."""


class Net(nn.Module):
    """A few blocks with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Dropout(0.1), nn.LayerNorm(64))
            for _ in range(5)
        )

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x if target is None else nn.functional.cross_entropy(x, target)


def tripled(module: nn.Module, arguments: object, output: Tensor) -> Tensor:
    return output * 3


def preempted(number: int, frame: FrameType | None) -> None:
    raise Preempted


def preempt_when(module: str, function: str) -> None:
    """Get the signal while a function of fastsa's runs, or as it ends."""
    place: Any = sys.modules[module]
    usual = getattr(place, function)

    def preempted_in(*arguments: Any, **more: Any) -> Any:
        setattr(place, function, usual)
        signal.setitimer(signal.ITIMER_REAL, 1e-3)
        result = usual(*arguments, **more)
        if signal.setitimer(signal.ITIMER_REAL, 0)[0]:
            signal.raise_signal(signal.SIGALRM)
        return result

    setattr(place, function, preempted_in)


def late(thread: threading.Thread | None = None) -> None:
    if thread is not None:
        thread.join()
    import late_helper

    print("late", late_helper.VALUE, sys.argv[1:], vars(sys.modules["__main__"])["MARK"])


def change(step: int, model: Any) -> None:
    """Before a step."""
    if WHAT == "hooked" and step == 4:
        model.blocks[1].register_forward_hook(tripled)
    if WHAT == "schedule":
        model.blocks[2][2].p = SCHEDULE[step]
    if WHAT == "unfrozen" and step in (0, 2):
        model.blocks[0].requires_grad_(step == 2)


def loss_of(step: int, model: Net) -> Tensor:
    x = torch.randn(256, 64)
    if WHAT == "batch" or (WHAT == "late batch" and step >= 4):
        return model(x.as_subclass(Batch)).square().mean()
    if WHAT == "target":
        target = torch.randn(256, 64).as_subclass(Batch)
        return nn.functional.mse_loss(model(x), target)
    if WHAT == "bad batch":
        return model(x, torch.randint(0, 64, (255 if step == 4 else 256,)))
    return model(x).square().mean()


def digest(model: Net) -> str:
    found = hashlib.sha256()
    for parameter in model.parameters():
        if parameter.grad is not None:
            found.update(parameter.grad.as_subclass(Tensor).numpy().tobytes())
    return found.hexdigest()[:16]


def train(model: Net) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        change(step, model)
        try:
            loss = loss_of(step, model)
        except ValueError as error:
            print("step", step, "skipped:", error)
            continue
        loss.backward()
        print("step", step, float(loss.detach()).hex(), digest(model), flush=True)
        optimizer.step()
        optimizer.zero_grad()


def main() -> None:
    global MARK
    torch.manual_seed(0)
    if WHAT == "strict":
        warnings.simplefilter("error")
    if WHAT == "preempted":
        signal.signal(signal.SIGALRM, preempted)
        preempt_when(*PLACES[sys.argv[2]])
    try:
        train(Net())
    except Preempted:
        sys.exit(99)
    MARK = 7
    if WHAT == "thread":
        threading.Thread(target=late, args=(threading.main_thread(),)).start()
    if WHAT == "atexit":
        atexit.register(late)


if __name__ == "__main__":
    main()
