"""Generators: states that repeats of random ops run from, which no value of a graph stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

import torch

from fastsa.planner.graph import Graph


def state_bytes(graph: Graph, sequence: Sequence[int], device: torch.device) -> int:
    """Bytes of the states that a sequence holds at most: one for each random op that repeats.

    Those of CUDA's generators are on the CPU.
    """
    repeated = [op for op, runs in Counter(sequence).items() if runs > 1]
    return sum(_draws(graph.ops[op].target) for op in repeated) * _state_size(device)


def _state_size(device: torch.device) -> int:
    return int(torch.get_rng_state().nbytes) if device.type == "cpu" else 0


@cache
def _draws(target: str) -> bool:
    """Whether the op of this name draws from a generator."""
    found: object = torch.ops
    for part in target.split("."):
        found = getattr(found, part, None)
    tags = getattr(found, "tags", ())
    return isinstance(found, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in tags
