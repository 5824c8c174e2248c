"""transformers: a callback for its `Trainer` that only reports."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fastsa.integrations.metrics import metrics

PREFIX = "fastsa_"


class FastsaCallback(TrainerCallback):
    """Adds the peak, step time and budget of the planned job to what the Trainer logs.

    It only reports (`transformers.TrainerCallback`). Given as
    `Trainer(..., callbacks=[FastsaCallback()])` its numbers are in `state.log_history` and in what
    is printed. The Trainer calls its reporters (TensorBoard, W&B) before the callbacks it is given:
    `FastsaCallback().attach(trainer)` puts it ahead of them.
    """

    def attach(self, trainer: Any) -> FastsaCallback:
        """Become the first callback of a Trainer.

        Args:
            trainer: A `transformers.Trainer`.

        Returns:
            This callback.
        """
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
        """Add what is known to something that is logged, and to its copy in the history.

        Args:
            args: Not used.
            state: The last entry of its `log_history` is extended.
            control: Not used.
            logs: What is being logged; it is extended in place.
            **ignored: What the Trainer passes besides.
        """
        found = metrics(PREFIX)
        if logs is not None:
            logs.update(found)
        if state.log_history:
            state.log_history[-1].update(found)
