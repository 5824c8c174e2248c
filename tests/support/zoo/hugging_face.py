"""Models of transformers: those of the real scripts."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from scripts.real import hf_models
from support.zoo.loops import ROWS, of_loss
from support.zoo.specimen import Specimen


def words(call: Any) -> Tensor:
    tokens = torch.randint(0, hf_models.WORDS, (ROWS, 32))
    loss: Tensor = call(input_ids=tokens, labels=tokens).loss
    return loss


def hidden_words(call: Any) -> Tensor:
    loss: Tensor = call(**hf_models.masked_words(ROWS)).loss
    return loss


def two_texts(call: Any) -> Tensor:
    source, target = torch.randint(1, hf_models.WORDS, (2, ROWS, 24))
    loss: Tensor = call(input_ids=source, labels=target).loss
    return loss


def pictures(call: Any) -> Tensor:
    images, labels = torch.randn(ROWS, 3, 32, 32), torch.randint(0, 10, (ROWS,))
    loss: Tensor = call(pixel_values=images, labels=labels).loss
    return loss


def specimen(make: Any, loss: Any, layers: int = 1) -> Specimen:
    return Specimen(partial(make, layers), {"plain": of_loss(loss)})


HUGGING_FACE = {
    "gpt2": specimen(hf_models.gpt2, words),
    "llama": specimen(hf_models.llama, words),
    "bert": specimen(hf_models.bert, hidden_words),
    "t5": specimen(hf_models.t5, two_texts),
    "vit": specimen(hf_models.vit, pictures),
}
