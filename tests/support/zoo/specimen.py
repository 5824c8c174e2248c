"""A model of the zoo, how it is compiled and trained, and the bits of its training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from support.zoo.plans import PLANS
from support.zoo.switched import UNPLANNED, Switched

STEPS = 2
Bits = list[Tensor | None]
Backend = Callable[..., Any]
Call = Callable[..., Any]


class Training:
    """What a loop trains, and what is seen of it."""

    def __init__(self, model: nn.Module, call: Call) -> None:
        self.model = model
        self.call = call
        self.bits: Bits = []

    def see(self, *tensors: Tensor | None) -> None:
        """Keep tensors as they are now."""
        self.bits += [None if t is None else t.detach().clone() for t in tensors]

    def see_all(self) -> None:
        """Keep gradients, parameters, buffers, and where the generator is."""
        self.see(*(p.grad for p in self.model.parameters()))
        self.see(*self.model.parameters(), *self.model.buffers(), torch.get_rng_state())


Loop = Callable[[Training], None]
Compile = Callable[[nn.Module, Backend], Call]


def in_place(model: nn.Module, backend: Backend) -> Call:
    model.compile(backend=backend, dynamic=False)
    return model


@dataclass(frozen=True)
class Specimen:
    """A model and the loops that train it; `exact` if torch's compiled graph has eager's bits."""

    make: Callable[[], nn.Module]
    loops: dict[str, Loop]
    compile: Compile = in_place
    call: Callable[[nn.Module], Call] = lambda model: model
    exact: bool = True
    regions: int = 1  # that it is captured as, at the least


class Captured:
    """A specimen that is compiled when it first runs."""

    def __init__(self, specimen: Specimen) -> None:
        self.specimen = specimen
        torch.manual_seed(0)
        self.model = specimen.make()
        self.eager = specimen.call(self.model)
        self.first = {n: t.detach().clone() for n, t in tensors(self.model).items()}
        self.trained = {n: p.requires_grad for n, p in self.model.named_parameters()}
        self.switched = Switched()
        self.eager_bits = {
            name: self.train(loop, self.eager) for name, loop in specimen.loops.items()
        }
        self.compiled = specimen.compile(self.model, self.switched.backend)

    def under(self, plan: str, loop: str) -> Bits:
        """The bits of a training under a plan, or under none."""
        self.switched.current = plan
        return self.train(self.specimen.loops[loop], self.compiled)

    def train(self, loop: Loop, call: Call) -> Bits:
        with torch.no_grad():
            for name, tensor in tensors(self.model).items():
                tensor.copy_(self.first[name])
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self.trained[name]).grad = None
        self.model.train()
        torch.manual_seed(1)
        training = Training(self.model, call)
        loop(training)
        return training.bits


def check(specimen: Specimen) -> None:
    """Train a specimen eagerly, unplanned and under all plans, and compare every bit."""
    captured = Captured(specimen)
    differing = []
    for loop in specimen.loops:
        wanted = captured.under(UNPLANNED, loop)
        if specimen.exact and not same(wanted, captured.eager_bits[loop]):
            differing.append(f"{loop}: compiled, from eager")
        differing += [
            f"{loop}: {plan}" for plan in PLANS if not same(captured.under(plan, loop), wanted)
        ]
    assert differing == [], differing
    regions = captured.switched.regions
    assert len(regions) >= specimen.regions, len(regions)
    assert sum(region.repeats["everything again"] for region in regions) > 0


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def same(left: Bits, right: Bits) -> bool:
    """Whether two trainings have the same bits."""
    return len(left) == len(right) and all(map(equal, left, right))


def equal(left: Tensor | None, right: Tensor | None) -> bool:
    if left is None or right is None:
        return left is right
    return left.dtype == right.dtype and torch.equal(left, right)
