"""Lightning's `Trainer`: clipped gradients, a schedule, and validation after each epoch."""

import logging
import warnings

import lightning
import torch
from blocks import ROWS, Transformer, batch
from real import STEPS, budgeted, tell, tell_state
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="lightning")


class Language(lightning.LightningModule):
    """A language model."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Transformer()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(tokens)

    def training_step(self, pair: list[Tensor], index: int) -> Tensor:
        loss = self.loss(pair)
        self.log("loss", loss)
        tell(self.global_step, loss)
        return loss

    def validation_step(self, pair: list[Tensor], index: int) -> None:
        print("validation", self.loss(pair).item().hex())

    def loss(self, pair: list[Tensor]) -> Tensor:
        tokens, following = pair
        return F.cross_entropy(self(tokens).flatten(0, 1), following.flatten())

    def configure_optimizers(self) -> object:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


model = Language()
budgeted(model.model)
trainer = lightning.Trainer(
    max_epochs=2,
    accelerator="cpu",
    gradient_clip_val=1.0,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(
    model,
    DataLoader(TensorDataset(*batch(ROWS * STEPS // 2)), batch_size=ROWS, shuffle=True),
    DataLoader(TensorDataset(*batch(ROWS)), batch_size=ROWS),
)
tell_state(model)
