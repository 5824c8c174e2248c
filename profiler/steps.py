"""Steps: where one training step ends and the next begins, in a script that does not say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook


class StepClock:
    """A step begins with the first training forward after an optimizer step.

    Several forwards and backwards before one optimizer step (gradient accumulation) are one step.
    `on_step` is called with the number of the step that begins, from 0; `on_end` with the number of
    the step whose optimizer has stepped.
    """

    def __init__(
        self, on_step: Callable[[int], None], on_end: Callable[[int], None] = lambda step: None
    ) -> None:
        self.step = -1
        self._on_step = on_step
        self._on_end = on_end
        self._due = True
        self._handle = register_optimizer_step_post_hook(self._stepped)

    def forward(self) -> None:
        """To be called when a training forward begins."""
        if self._due:
            self._due = False
            self.step += 1
            self._on_step(self.step)

    def close(self) -> None:
        """Remove the hook on optimizers."""
        self._handle.remove()

    def _stepped(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._due = True
        if self.step >= 0:
            self._on_end(self.step)
