"""Step clock: where a training step ends and the next begins, in a script that does not say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from fastsa.instrumentation.storages import optimizers

RETIRED = 16  # steps of others without the one that ends a step: it is done with


class StepClock:
    """A step begins with the first training forward after the last optimizer has stepped.

    Several forwards and backwards before that (gradient accumulation) are one step. Of several
    optimizers (a GAN's two) the one that came last the first time ends the step. Without any
    optimizer in the process, a step ends with its backward. `on_step` is called with the number of
    the step that begins, from 0; `on_end` with the number of the step that has ended;
    `on_optimizer` whenever an optimizer has stepped.
    """

    def __init__(
        self,
        on_step: Callable[[int], None],
        on_end: Callable[[int], None] = lambda step: None,
        on_optimizer: Callable[[Optimizer], None] = lambda optimizer: None,
    ) -> None:
        self.step = -1
        self._on_step = on_step
        self._on_end = on_end
        self._on_optimizer = on_optimizer
        self._due = True
        self._last: int | None = None  # the optimizer that ends a step
        self._known: set[int] = set()
        self._others = 0  # steps of others since
        self._is_called = self._is_closed = False
        self._handle = register_optimizer_step_post_hook(self._optimizer_stepped)

    def forward(self) -> None:
        """To be called when a training forward begins."""
        if self._due:
            self._due = False
            self.step += 1
            self._on_step(self.step)

    def backward_ended(self) -> None:
        """To be called after a backward, by those who wish for steps without an optimizer."""
        if not self._known and not optimizers():
            self.end()

    def end(self) -> None:
        """The step is over: the next forward begins another."""
        if not self._due:
            self._due = True
            self._on_end(self.step)

    def close(self) -> None:
        """Remove the hook on optimizers.

        Called from within the hook this only makes it do nothing: the optimizer is going through
        its hooks. Then it is to be called once more.
        """
        self._is_closed = True
        if not self._is_called:
            self._handle.remove()

    def _optimizer_stepped(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._is_closed:
            return
        self._is_called = True
        try:
            self._stepped(optimizer)
        finally:
            self._is_called = False

    def _stepped(self, optimizer: Optimizer) -> None:
        one = id(optimizer)
        self._others = 0 if one == self._last else self._others + 1
        if one not in self._known or self._others > RETIRED:
            self._known.add(one)
            self._last = one
        if self.step >= 0:
            self._on_optimizer(optimizer)
            if one == self._last:
                self.end()
