"""Language models in plain PyTorch: those of the real scripts, each with the loops around it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from scripts.real.blocks import Centred, Checkpointed, Transformer, adapted, batch, loss_of
from support.zoo import loops
from support.zoo.loops import ROWS
from support.zoo.specimen import Backend, Call, Specimen, Training


def hooked() -> nn.Module:
    """Features taken in a forward hook, gradients changed in tensor hooks."""
    model = Transformer(1)
    model.register_buffer("features", torch.zeros(ROWS, 64, 64))

    def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
        model.features.copy_(output.detach())

    def halve(gradient: Tensor) -> Tensor:
        return gradient * 0.5

    def clamp(parameter: Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad.clamp_(-0.01, 0.01)

    model.norm.register_forward_hook(keep)
    model.head.weight.register_hook(halve)
    model.words.weight.register_post_accumulate_grad_hook(clamp)
    return model


def measured() -> nn.Module:
    """A full backward hook on a block: torch leaves it out of the graph."""
    model = Transformer(2)
    model.norms = []

    def measure(module: nn.Module, of_input: object, of_output: tuple[Tensor, ...]) -> None:
        model.norms.append(of_output[0].norm())

    model.blocks[1].register_full_backward_hook(measure)
    return model


def with_norms(training: Training) -> None:
    norms: list[Tensor] = training.model.norms  # type: ignore[assignment]
    norms.clear()
    loops.plain(training)
    assert norms
    training.see(*norms)


def wrapped(model: nn.Module, backend: Backend) -> Call:
    return torch.compile(model, backend=backend, dynamic=False)


def blocks(model: nn.Module, backend: Backend) -> Call:
    for block in model.blocks:  # type: ignore[union-attr]
        block.compile(backend=backend, dynamic=False)
    return model


def the_loss(model: nn.Module, backend: Backend) -> Call:
    return torch.compile(partial(loss_of, model), backend=backend, dynamic=False)


def of_the_loss(call: Any) -> Tensor:
    loss: Tensor = call(*batch(ROWS))
    return loss


LANGUAGE = {
    "transformer": Specimen(
        lambda: Transformer(2),
        {
            "plain": loops.plain,
            "accumulation": loops.accumulation,
            "kept gradients": loops.kept_gradients,
            "scheduled": loops.scheduled,
            "averaged": loops.averaged,
            "retains": loops.retains,
            "two forwards": loops.two_forwards,
            "evaluates": loops.evaluates,
        },
    ),
    "autocast to bf16": Specimen(
        lambda: Transformer(1), {"bf16": loops.autocast(torch.bfloat16)}, exact=False
    ),
    "autocast to fp16": Specimen(
        lambda: Transformer(1),
        {"fp16": loops.autocast(torch.float16), "scaled": loops.autocast(torch.float16, 2.0**10)},
        exact=False,
    ),
    "frozen": Specimen(lambda: adapted(2), {"plain": loops.plain}),
    "tied": Specimen(lambda: Transformer(1, tied=True), {"adafactor": loops.adafactor}),
    "averages": Specimen(lambda: Centred(1), {"averaged": loops.averaged}),
    "checkpointed, reentrant": Specimen(
        lambda: Checkpointed(2, reentrant=True), {"plain": loops.plain}
    ),
    "checkpointed": Specimen(lambda: Checkpointed(2, reentrant=False), {"plain": loops.plain}),
    "hooked": Specimen(hooked, {"plain": loops.plain}),
    "measured": Specimen(measured, {"norms": with_norms}),
    "wrapped": Specimen(lambda: Transformer(1), {"plain": loops.plain}, wrapped),
    "blocks": Specimen(lambda: Transformer(2), {"plain": loops.plain}, blocks),
    "the loss": Specimen(
        lambda: Transformer(1),
        {"plain": loops.of_loss(of_the_loss)},
        the_loss,
        lambda model: partial(loss_of, model),
    ),
}
