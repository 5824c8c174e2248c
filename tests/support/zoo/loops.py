"""Training loops around a language model's call, as people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scripts.real.blocks import batch, loss_of
from support.zoo.specimen import STEPS, Loop, Training

ROWS = 3


def adamw(training: Training) -> torch.optim.Optimizer:
    trained = [p for p in training.model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=1e-2)


def of_loss(loss: Callable[[Any], Tensor]) -> Loop:
    """The plain loop around what `loss` makes of the call."""

    def loop(training: Training) -> None:
        optimizer = adamw(training)
        for _ in range(STEPS):
            optimizer.zero_grad()
            found = loss(training.call)
            found.backward()
            training.see(found)
            training.see_all()
            optimizer.step()

    return loop


plain = of_loss(lambda call: loss_of(call, *batch(ROWS)))


def accumulation(training: Training) -> None:
    """The gradients of three micro-batches."""
    optimizer = adamw(training)
    for _ in range(STEPS):
        for _ in range(3):
            loss = loss_of(training.call, *batch(ROWS)) / 3
            loss.backward()
            training.see(loss)
        training.see_all()
        optimizer.step()
        optimizer.zero_grad()


def kept_gradients(training: Training) -> None:
    """Zeroed in place, clipped, with a penalty on the weights."""
    optimizer = adamw(training)
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=False)
        loss = loss_of(training.call, *batch(ROWS))
        loss = loss + 1e-4 * sum(p.square().sum() for p in training.model.parameters())
        loss.backward()
        training.see(loss, clip_grad_norm_(training.model.parameters(), 0.5))
        training.see_all()
        optimizer.step()


def scheduled(training: Training) -> None:
    """Clipped, with a schedule, as the trainers of the libraries do."""
    optimizer = adamw(training)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        loss = loss_of(training.call, *batch(ROWS))
        loss.backward()
        training.see(loss, clip_grad_norm_(training.model.parameters(), 1.0))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        training.see_all()


def averaged(training: Training) -> None:
    """With moving averages of the weights."""
    shadow = AveragedModel(training.model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    optimizer = adamw(training)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(training.call, *batch(ROWS))
        loss.backward()
        optimizer.step()
        shadow.update_parameters(training.model)
        training.see(loss, *shadow.parameters(), *shadow.buffers())


def retains(training: Training) -> None:
    """Two losses of one forward, each with its own backward."""
    optimizer = adamw(training)
    for _ in range(STEPS):
        tokens, following = batch(ROWS)
        optimizer.zero_grad()
        logits = training.call(tokens)
        loss = F.cross_entropy(logits.flatten(0, 1), following.flatten())
        loss.backward(retain_graph=True)
        penalty = 1e-3 * logits.logsumexp(-1).square().mean()
        penalty.backward()
        training.see(loss, penalty)
        training.see_all()
        optimizer.step()


def two_forwards(training: Training) -> None:
    """Contrastive: both before one backward."""
    optimizer = adamw(training)
    for _ in range(STEPS):
        tokens, following = batch(ROWS)
        optimizer.zero_grad()
        first, second = training.call(tokens).mean(1), training.call(following).mean(1)
        similar = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
        loss = F.cross_entropy(similar / 0.1, torch.arange(ROWS))
        loss.backward()
        training.see(loss)
        training.see_all()
        optimizer.step()


def evaluates(training: Training) -> None:
    """Without gradients, after each step."""
    optimizer = adamw(training)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(training.call, *batch(ROWS))
        loss.backward()
        optimizer.step()
        training.model.eval()
        with torch.no_grad():
            training.see(loss, loss_of(training.call, *batch(ROWS)))
        training.model.train()
        training.see_all()


def autocast(dtype: torch.dtype, scale: float | None = None) -> Loop:
    """Mixed precision, with a gradient scaler where a scale is given."""

    def loop(training: Training) -> None:
        optimizer = adamw(training)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
        for _ in range(STEPS):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=dtype):
                loss = loss_of(training.call, *batch(ROWS))
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            training.see(loss, clip_grad_norm_(training.model.parameters(), 1.0))
            training.see_all()
            scaler.step(optimizer)
            scaler.update()

    return loop


def adafactor(training: Training) -> None:
    optimizer = torch.optim.Adafactor(training.model.parameters(), lr=1e-2)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(training.call, *batch(ROWS))
        loss.backward()
        training.see(loss)
        training.see_all()
        optimizer.step()
