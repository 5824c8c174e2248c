"""The run: what happened when a plan was used. Knows nothing of torch."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Predicted against measured, for one job under one plan.

    Bytes are the whole process's on the device. What could not be measured is None.
    """

    schema: Literal["fastsa.run/1"]
    created: str  # ISO 8601, UTC
    script: str
    model: str
    shape: str
    device: str
    versions: dict[str, str]
    plan: str  # id of the plan in the store
    plan_origin: Literal["found", "made"]
    process_budget_bytes: int = msgspec.field(name="budget_bytes")
    resident_bytes: int
    predicted_peak_bytes: int
    measured_peak_bytes: int | None
    predicted_step_seconds: float
    measured_step_seconds: float | None
    steps: int

    def encode(self) -> bytes:
        """The run as a JSON document."""
        return msgspec.json.encode(self)

    def id(self) -> str:
        """sha256 (hex) of the document."""
        return hashlib.sha256(self.encode()).hexdigest()
