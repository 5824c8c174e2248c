"""The margin: bytes kept free of a graph's plans, since a job took more than was predicted.

Rule. A peak is above its prediction if it is so by more than the tolerance. Then the margin is at
least what it was above. Each job that needs less halves the margin, down to what it needs; a margin
below the tolerance is none. It is never more than half of what the budget leaves for the step.
"""

from __future__ import annotations

import builtins
import hashlib
from typing import Literal

import msgspec

TOLERANCE_SHARE = 0.01
TOLERANCE_BYTES = 1 << 20
"""1% and 1 MiB, as in Rockmate's test of its own memory predictions (topal-team/rockmate)."""


class Margin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a graph (its hash) on a device. `run` is the id of the run that set it, "" if unknown."""

    schema: Literal["fastsa.margin/1"]
    graph: str
    device: str
    bytes: int
    created: str  # ISO 8601, UTC
    run: str = ""

    def encode(self) -> builtins.bytes:
        """The margin as a JSON document."""
        return msgspec.json.encode(self)

    def id(self) -> str:
        """sha256 (hex) of the document."""
        return hashlib.sha256(self.encode()).hexdigest()


def tolerance(predicted_peak_bytes: int) -> int:
    """Bytes by which a measured peak may be above the predicted one."""
    return int(predicted_peak_bytes * TOLERANCE_SHARE) + TOLERANCE_BYTES


def grown(margin: int, predicted: int, measured: int, most: int) -> int:
    """The next margin, in bytes, after a peak of `measured` where `predicted` was said."""
    allowed = tolerance(predicted)
    excess = measured - predicted
    needed = excess if excess > allowed else 0
    following = max(needed, margin // 2)
    return min(following, most) if following > allowed else 0
