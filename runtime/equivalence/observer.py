"""Observer: the digests of every tensor that a training step gives its script.

Of each step: the losses as the backward begins, every parameter's gradient before its optimizer
steps, and after that the parameters and the buffers.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from fastsa.instrumentation.module_hooks import BackwardCalls
from fastsa.instrumentation.script import StopScript
from fastsa.instrumentation.step_clock import StepClock
from fastsa.runtime.equivalence.digest import digest
from fastsa.runtime.equivalence.trace import ObservedTensor


class Observer:
    """While entered, observes the first `steps` steps; after that ends the script when `is_over`.

    That is asked as a step begins. `on_step` and `on_end` are told of all steps, from 0.
    """

    def __init__(
        self,
        steps: int,
        is_over: Callable[[int], bool],
        on_step: Callable[[int], None] = lambda step: None,
        on_end: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.seen: list[list[ObservedTensor]] = []
        self.steps = steps
        self._at_least = steps
        self._is_over = is_over
        self._on_step = on_step
        self._on_end = on_end
        self._roots: list[weakref.ref[nn.Module]] = []
        self._optimized = False  # whether an optimizer has stepped in this step
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._clock = StepClock(self._step_begins, self._step_ended, self._optimizer_stepped)
        self._open.callback(self._clock.close)
        self._open.callback(register_optimizer_step_pre_hook(self._optimizer_steps).remove)
        self._open.enter_context(BackwardCalls(self._backward, self._clock.backward_ended))
        return self

    def __exit__(self, *ending: object) -> None:
        self._open.close()

    @property
    def step(self) -> int | None:
        """The step that is being observed, None if none is."""
        step = self._clock.step
        return step if 0 <= step < self.steps else None

    def observe_more(self) -> None:
        """Observe as many steps again, after the one that runs."""
        self.steps = self._clock.step + 1 + self._at_least

    def root_called(self, module: nn.Module) -> None:
        """A root module is about to be called in training. Raises StopScript when all is seen.

        A script that catches it is told so again and again.
        """
        if all(root() is not module for root in self._roots):
            self._roots.append(weakref.ref(module))
        self._clock.forward()
        if self._clock.step >= self.steps and self._is_over(self._clock.step):
            raise StopScript

    def _step_begins(self, step: int) -> None:
        if step < self.steps:
            self.seen.append([])
        self._optimized = False
        self._on_step(step)

    def _step_ended(self, step: int) -> None:
        if not self._optimized:
            self._note_gradients(self._parameters())
            self._note_state(())
        self._on_end(step)

    def _backward(self, tensors: tuple[Tensor, ...], creates_graph: bool) -> None:
        for tensor in tensors:
            self._note("loss", tensor)

    def _optimizer_steps(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._note_gradients(_parameters_of(optimizer))

    def _optimizer_stepped(self, optimizer: Optimizer) -> None:
        self._optimized = True
        self._note_state(_parameters_of(optimizer))

    def _note_gradients(self, parameters: Iterable[Tensor]) -> None:
        names = self._names()
        for position, parameter in enumerate(parameters):
            if parameter.grad is not None:
                name = names.get(id(parameter), f"parameter {position}")
                self._note(f"gradient {name}", parameter.grad)

    def _note_state(self, parameters: Iterable[Tensor]) -> None:
        names = self._names()
        for position, parameter in enumerate(parameters):
            self._note(names.get(id(parameter), f"parameter {position}"), parameter)
        for prefix, module in self._modules():
            for name, buffer in nn.Module.named_buffers(module):
                self._note(f"buffer {prefix}{name}", buffer)

    def _note(self, name: str, tensor: Tensor) -> None:
        if self.step is not None:
            self.seen[-1].append(ObservedTensor(name, digest(tensor)))

    def _modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Root modules, each with what to put before its names."""
        for position, root in enumerate(self._roots):
            module = root()
            if module is not None:
                yield f"{position}:" if len(self._roots) > 1 else "", module

    def _parameters(self) -> list[Tensor]:
        return [p for _, module in self._modules() for p in nn.Module.parameters(module)]

    def _names(self) -> dict[int, str]:
        return {
            id(parameter): prefix + name
            for prefix, module in self._modules()
            for name, parameter in nn.Module.named_parameters(module)
        }


def _parameters_of(optimizer: Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
