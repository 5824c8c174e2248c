"""Trains with fastsa's callback for `transformers` or `lightning`, and prints what was logged."""

import json
import sys
from typing import Any

import torch
from blocks import ROWS, Transformer, batch, loss_of
from real import STEPS, tell, tell_state
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


def with_transformers() -> list[dict[str, Any]]:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from fastsa.integrations.transformers import FastsaCallback

    reported: list[dict[str, Any]] = []

    class Reporter(TrainerCallback):
        """As TensorBoard's: it is called before the callbacks a Trainer is given."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            reported.append(dict(logs))

    class Telling(Trainer):
        """Computes the loss of a model that does not, and prints it."""

        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            loss = loss_of(model, inputs["tokens"], inputs["following"])
            tell(self.state.global_step, loss)
            return loss

    model = Transformer(2)
    tokens, following = batch(ROWS * STEPS)
    trainer = Telling(
        model=model,
        args=TrainingArguments(
            output_dir="trained",
            max_steps=STEPS,
            per_device_train_batch_size=ROWS,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
        ),
        train_dataset=[
            {"tokens": t, "following": f} for t, f in zip(tokens, following, strict=True)
        ],
        callbacks=[Reporter()],
    )
    FastsaCallback().attach(trainer)
    trainer.train()
    tell_state(model)
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [without_step(e) for e in history] == [r for r in reported if "loss" in r]
    return history


def without_step(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "step"}


def with_lightning() -> list[dict[str, Any]]:
    import lightning
    from lightning.pytorch.loggers.logger import DummyLogger

    from fastsa.integrations.lightning import FastsaCallback

    logged: list[dict[str, Any]] = []

    class Logger(DummyLogger):
        """Keeps what it gets."""

        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            logged.append(dict(metrics))

    class Language(lightning.LightningModule):
        """A language model."""

        def __init__(self) -> None:
            super().__init__()
            self.model = Transformer(2)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.model(tokens)

        def training_step(self, pair: list[Tensor], index: int) -> Tensor:
            loss = loss_of(self, *pair)
            self.log("loss", loss)
            tell(index, loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    model = Language()
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=Logger(),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[FastsaCallback()],
    )
    trainer.fit(model, DataLoader(TensorDataset(*batch(ROWS * STEPS)), batch_size=ROWS))
    tell_state(model)
    return [entry for entry in logged if "loss" in entry]


history = with_transformers() if sys.argv[1] == "transformers" else with_lightning()
print("logged", json.dumps(history))

import fastsa  # noqa: E402

status = fastsa.status()
if status is not None:
    print(
        "status",
        status.process_budget_bytes,
        status.predicted_peak_bytes,
        status.measured_peak_bytes,
    )
