"""The timeline: every allocation of one step, in allocator order. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

Category = Literal[
    "parameter",
    "buffer",
    "optimizer",
    "gradient",
    "input",
    "activation",
    "temporary",
    "workspace",
    "library",
    "other",
]
CATEGORIES: tuple[Category, ...] = (
    "parameter",
    "buffer",
    "optimizer",
    "gradient",
    "input",
    "activation",
    "temporary",
    "workspace",
    "library",
    "other",
)
"""`input`: what the step's forwards were called with. `activation`: kept for the backward.
`workspace`: allocated and released by one op. `library`: by another library, e.g. CuPy.
`temporary`: anything else born in the step. `other`: alive before, and nobody knows what for."""

Phase = Literal["forward", "backward", "optimizer", "other"]
PHASES: tuple[Phase, ...] = ("forward", "backward", "optimizer", "other")
"""`forward` lasts from the model's call to the backward, so a loss outside of the model is in it.
`other` is what happens between the backward, the optimizer's step and the next forward."""


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where allocations come from; those of one site differ only in bytes and time.

    `op` is the torch op, `module` the dotted path of the module that ran it (of a backward: whose
    backward it is), `source` the user's line as `file:line`, `node` the autograd node that keeps
    it. What is unknown is None.
    """

    category: Category
    phase: Phase | None = None
    op: str | None = None
    module: str | None = None
    source: str | None = None
    node: str | None = None


class Allocation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One block of memory. `birth` and `death` are event numbers of the step, half-open.

    `birth` is None for a block that was alive when the step began, `death` is None for one that
    outlives it. Seconds count from the start of the step. `site` is a position in the timeline's
    `sites`. In JSON it is a list, since there can be a million of them.
    """

    bytes: int
    birth: int | None
    death: int | None
    birth_seconds: float | None
    death_seconds: float | None
    site: int


class Timeline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All allocations of one step. `peak_bytes` counts everything alive, resident included."""

    events: int
    resident_bytes: int
    peak_bytes: int
    peak_event: int
    seconds: float
    sites: tuple[Site, ...]
    allocations: tuple[Allocation, ...]

    def site(self, allocation: Allocation) -> Site:
        """Where an allocation comes from."""
        return self.sites[allocation.site]

    def alive_at(self, event: int) -> Iterator[Allocation]:
        """The blocks that are alive just after event number `event`."""
        for block in self.allocations:
            if (block.birth is None or block.birth <= event) and (
                block.death is None or event < block.death
            ):
                yield block
