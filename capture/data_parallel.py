"""Data parallel: what of a model that torch's data parallelism wraps is captured, and how."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def computed(module: nn.Module) -> nn.Module:
    """What computes: the model in a DistributedDataParallel, else the module itself.

    The wrapper's own forward (buckets, buffers to be broadcast) is no business of the tracer's.
    """
    while isinstance(module, DistributedDataParallel):
        module = module.module
    return module


def is_sharded(module: nn.Module) -> bool:
    """Whether FSDP2 (`fully_shard`) has taken over parts of a module."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    kind = getattr(fsdp, "FSDPModule", ())
    return any(isinstance(each, kind) for each in module.modules())


@contextmanager
def in_one_piece(module: nn.Module) -> Iterator[None]:
    """While entered, a DistributedDataParallel's model is captured as one graph.

    Dynamo would cut it where the buckets of gradients end, so that a bucket can be sent while the
    backward of the next piece runs (torch._dynamo.backends.distributed.DDPOptimizer).
    """
    if not isinstance(module, DistributedDataParallel):
        yield
        return
    with torch._dynamo.config.patch(optimize_ddp=False):
        yield
