"""Lightning: a callback for its `Trainer` that only reports."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from fastsa.errors import reason, warn
from fastsa.integrations.metrics import metrics

PREFIX = "fastsa/"


class FastsaCallback(Callback):
    """Logs the peak, step time and budget of the planned job, as the module's own `log` does.

    It only reports (`lightning.pytorch.Callback`). If logging fails, it issues one FastsaWarning
    and logs no more; the training goes on.
    """

    def __init__(self) -> None:
        self._failed = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *ignored: Any, **more: Any
    ) -> None:
        """Log what is known when a batch has ended, at the pace the Trainer logs.

        Args:
            trainer: The Trainer that calls.
            pl_module: The module whose `log_dict` is called.
            *ignored: What Lightning passes besides.
            **more: The same by name.
        """
        if self._failed:
            return
        try:
            pl_module.log_dict(metrics(PREFIX), on_step=True, on_epoch=False)
        except Exception as error:  # noqa: BLE001  a report must not stop the training
            self._failed = True
            warn(f"nothing is logged: {reason(error)}")
