"""transformers' GPT-2 with `Trainer`: clipped gradients, a schedule, and an evaluation half-way."""

from typing import Any

import torch
from hf_models import gpt2
from real import STEPS, budgeted, tell, tell_state
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments


class Text(Dataset[dict[str, torch.Tensor]]):
    """Random words."""

    def __init__(self, rows: int) -> None:
        self.rows = torch.randint(0, 128, (rows, 64))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


class Telling(Trainer):
    """Prints each loss."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if model.training:
            tell(self.state.global_step, loss)
        return loss


model = gpt2()
budgeted(model)
trainer = Telling(
    model=model,
    args=TrainingArguments(
        output_dir="trained",
        max_steps=STEPS,
        per_device_train_batch_size=12,
        per_device_eval_batch_size=12,
        eval_strategy="steps",
        eval_steps=5,
        logging_steps=5,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    ),
    train_dataset=Text(12 * STEPS),
    eval_dataset=Text(24),
)
trainer.remove_callback(PrinterCallback)  # it prints how long things take
trainer.train()
for entry in trainer.state.log_history:
    print({key: entry[key] for key in ("step", "loss", "eval_loss", "grad_norm") if key in entry})
tell_state(model)
