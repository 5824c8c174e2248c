"""The verdict: what a check of a plan found. Knows nothing of torch."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

Against = Literal["compiled", "eager"]


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the planned steps first differ from the unplanned compiled graph, or from eager.

    `tensor` is what the script sees (`loss`, `gradient first.weight`, ...). `op` and what follows
    are of the first op that differs, where ops were compared; of an op that the plan runs several
    times, `run` says which (from 1).
    """

    against: Against
    step: int
    tensor: str
    op: str | None = None
    target: str | None = None
    module: str | None = None
    source: str | None = None
    run: int | None = None


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Planned steps held against the plain script's and the unplanned compiled graph's.

    All start from the same state. Bytes are the whole process's peak on the device; seconds are of
    one step. What could not be measured, or not be said, is None. `deterministic` is whether the
    script gives the same bits twice without a plan; it is looked at only if something differs.
    """

    schema: Literal["fastsa.verdict/1"] = "fastsa.verdict/1"
    plan: str  # id of the plan in the store
    created: str  # ISO 8601, UTC
    script: str
    model: str
    shape: str
    device: str
    versions: dict[str, str]
    steps: int
    tensors: int  # compared, over all steps
    ops: int | None  # compared one by one, over all steps; None if they were not
    seeded: bool  # by fastsa, since the script seeds nothing
    identical_to_compiled: bool | None
    identical_to_eager: bool | None
    compiled_identical_to_eager: bool | None
    deterministic: bool | None
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]  # of fastsa, while it ran the script
    process_budget_bytes: int = msgspec.field(name="budget_bytes")
    predicted_peak_bytes: int
    measured_peak_bytes: int | None
    compiled_peak_bytes: int | None
    eager_peak_bytes: int | None
    predicted_step_seconds: float
    measured_step_seconds: float | None
    compiled_step_seconds: float | None
    eager_step_seconds: float | None

    @property
    def within_budget(self) -> bool | None:
        """Whether the measured peak is within the budget."""
        if self.measured_peak_bytes is None:
            return None
        return self.measured_peak_bytes <= self.process_budget_bytes

    @property
    def holds(self) -> bool:
        """Whether what is promised was seen: the compiled graph's bits, within the budget."""
        return self.identical_to_compiled is True and self.within_budget is True

    @property
    def line(self) -> str:
        """The verdict in a few words, as it stands beside its plan."""
        return summary_line(
            self.identical_to_compiled, self.within_budget, self.steps, self.created
        )

    def encode(self) -> bytes:
        """The verdict as a JSON document."""
        return msgspec.json.encode(self)

    def id(self) -> str:
        """sha256 (hex) of the document."""
        return hashlib.sha256(self.encode()).hexdigest()


def summary_line(
    identical: bool | None, within_budget: bool | None, steps: int, created: str
) -> str:
    """`bit-identical over 3 steps, 2026-11-25`, and what else is to be said."""
    words = {
        True: f"bit-identical over {steps} steps",
        False: "differs from the unplanned compiled graph",
        None: "could not be compared",
    }[identical]
    over = {True: "", False: ", over its budget", None: ", peak not measured"}[within_budget]
    return f"{words}{over}, {created[:10]}"
