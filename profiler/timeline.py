"""The timeline: every allocation of one step, in allocator order. Knows nothing of torch."""

from __future__ import annotations

import msgspec


class Allocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One block of memory. `birth` and `death` are event numbers of the step, half-open.

    `birth` is None for a block that was alive when the step began, `death` is None for one that
    outlives it. Seconds count from the start of the step. `category` is one of CATEGORIES.
    """

    bytes: int
    birth: int | None
    death: int | None
    birth_seconds: float | None
    death_seconds: float | None
    category: str
    op: str | None = None
    source: str | None = None


CATEGORIES = ("parameter", "buffer", "optimizer", "gradient", "saved", "temporary", "other")


class Timeline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All allocations of one step. `peak_bytes` counts everything alive, resident included."""

    events: int
    resident_bytes: int
    peak_bytes: int
    peak_event: int
    allocations: tuple[Allocation, ...]
