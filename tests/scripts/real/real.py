"""What the real training scripts share: losses to the last bit, a digest of what was trained."""

from __future__ import annotations

import hashlib
import os
import sys

import torch
from torch import Tensor, nn

STEPS = int(os.environ.get("REAL_STEPS", "10"))


def tell(number: int, loss: Tensor) -> None:
    """Print a loss to the last bit."""
    print(f"step {number} {loss.item().hex()}", flush=True)


def tell_state(*modules: nn.Module) -> None:
    """Print a digest over the bits of all parameters and buffers."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted((*module.named_parameters(), *module.named_buffers())):
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(name.encode() + flat.view(torch.uint8).numpy().tobytes())
    print("state", digest.hexdigest(), flush=True)


def budgeted(model: nn.Module) -> None:
    """Compile a model with fastsa if the script is given a budget."""
    if sys.argv[1:]:
        model.compile(backend="fastsa", options={"budget": sys.argv[1], "time_limit": 0.7})


torch.manual_seed(0)
