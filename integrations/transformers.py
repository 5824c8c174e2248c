"""transformers: a callback for its `Trainer` that only reports."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fastsa.integrations.metrics import metrics

PREFIX = "fastsa_"


class FastsaCallback(TrainerCallback):
    """Adds the peak, step time and budget of the planned job to what the Trainer logs.

    Given as `Trainer(..., callbacks=[FastsaCallback()])` they are in `state.log_history` and in
    what is printed. The Trainer calls its reporters (TensorBoard, W&B) before the callbacks it is
    given: `FastsaCallback().attach(trainer)` puts it ahead of them.
    """

    def attach(self, trainer: Any) -> FastsaCallback:
        """Become the first callback of a Trainer."""
        trainer.callback_handler.callbacks.insert(0, self)
        return self

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **ignored: Any,
    ) -> None:
        """Something is logged: add to it. The history has a copy of its own."""
        found = metrics(PREFIX)
        if logs is not None:
            logs.update(found)
        if state.log_history:
            state.log_history[-1].update(found)
