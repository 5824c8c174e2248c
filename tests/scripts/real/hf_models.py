"""Models of transformers from small configs, for the scripts that train them."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

WORDS, LAYERS = 128, 3


def gpt2(layers: int = LAYERS) -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=WORDS, n_positions=64, n_embd=64, n_layer=layers, n_head=4)
    )


def llama(layers: int = LAYERS) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config)


def bert(layers: int = LAYERS) -> BertForMaskedLM:
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=64,
    )
    return BertForMaskedLM(config)


def masked_words(rows: int = 12) -> dict[str, Tensor]:
    """Padded rows for BERT, some of their words hidden."""
    tokens = torch.randint(4, WORDS, (rows, 64))
    lengths = torch.randint(32, 65, (rows, 1))
    mask = (torch.arange(64) < lengths).long()
    hidden = (torch.rand(tokens.shape) < 0.15) & mask.bool()
    return {
        "input_ids": tokens.masked_fill(hidden, 3),
        "attention_mask": mask,
        "token_type_ids": torch.zeros_like(tokens),
        "labels": tokens.masked_fill(~hidden, -100),
    }


def t5(layers: int = 2) -> T5ForConditionalGeneration:
    config = T5Config(
        vocab_size=WORDS,
        d_model=64,
        d_kv=16,
        d_ff=192,
        num_layers=layers,
        num_heads=4,
        decoder_start_token_id=0,
    )
    return T5ForConditionalGeneration(config)


def vit(layers: int = LAYERS) -> ViTForImageClassification:
    config = ViTConfig(
        image_size=32,
        patch_size=4,
        hidden_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=256,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        num_labels=10,
    )
    return ViTForImageClassification(config)
