"""The trace: what one process saw of a script's first training steps. Knows nothing of torch."""

from __future__ import annotations

from typing import Literal

import msgspec

Mode = Literal["eager", "compiled", "planned"]
"""The script as it is; its compiled graphs without a plan; with one."""


class ObservedTensor(msgspec.Struct, frozen=True, array_like=True):
    """A tensor of a step, by the name it has for people, and its digest."""

    name: str
    digest: str


class OpPlace(msgspec.Struct, frozen=True, array_like=True):
    """An op of a captured region, by its name there."""

    region: int
    name: str
    target: str
    module: str | None
    source: str | None


class ObservedOp(msgspec.Struct, frozen=True, array_like=True):
    """One run of an op, and the digest of what came out. `place` is a position in the places."""

    step: int
    place: int
    digest: str


class PlanUsed(msgspec.Struct, frozen=True):
    """A plan that the process ran under. Bytes are the whole process's."""

    id: str | None
    process_budget_bytes: int
    predicted_peak_bytes: int
    predicted_step_seconds: float


class Failure(msgspec.Struct, frozen=True):
    """An error of fastsa's own."""

    message: str
    hint: str
    exit_code: int


class StepsTrace(msgspec.Struct, frozen=True, kw_only=True):
    """Tensors by step, in the order of their appearance; runs of ops if they were asked for.

    The peak is the whole process's on the device, in bytes; None where nothing was measured.
    """

    mode: Mode
    model: str = ""
    shape: str = ""
    device: str = ""
    versions: dict[str, str] = {}
    seeded: bool = False
    steps: tuple[tuple[ObservedTensor, ...], ...] = ()
    places: tuple[OpPlace, ...] = ()
    ops: tuple[ObservedOp, ...] = ()
    plans: tuple[PlanUsed, ...] = ()
    warnings: tuple[str, ...] = ()
    peak_bytes: int | None = None
    step_seconds: float | None = None
    failure: Failure | None = None


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is to do: which script, how, and where its trace is to go.

    The settings of `runtime.settings`, but the budget as text and the store as a path's text.
    """

    script: str
    arguments: tuple[str, ...]
    module: bool
    steps: int
    ops: bool
    cupy_on_torch: bool
    budget: str
    time_limit: float
    threads: int
    seed: int
    best_effort: bool
    store: str
    mode: Mode = "eager"
    result: str = ""
