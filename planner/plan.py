"""The plan: an order for a graph under a budget, with its certificate (schema `fastsa.plan/1`)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from fastsa.planner import files

Status = Literal["optimal", "feasible", "not_found", "infeasible"]


class Planner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who made a plan, and with what effort."""

    version: str
    algorithm: str
    seed: int
    threads: int
    wall_seconds: float
    iterations: int


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Op ids in the order to run them; an op listed again is recomputed there.

    Bytes are those of the step's own values, without the graph's resident bytes.
    `lower_bound_seconds` bounds the *extra* time of any legal plan within the budget.
    """

    schema: Literal["fastsa.plan/1"]
    graph: str
    status: Status
    step_budget_bytes: int = msgspec.field(name="budget_bytes")
    sequence: tuple[int, ...]
    segment_starts: tuple[int, ...]
    peak_bytes: int
    seconds: float
    base_peak_bytes: int
    base_seconds: float
    lower_bound_seconds: float
    lower_bound_assumes: str
    minimum_budget_bytes: int
    minimum_budget_op: int
    planner: Planner

    @property
    def fits(self) -> bool:
        """Whether this is a legal plan within its budget."""
        return self.status in ("optimal", "feasible")

    @property
    def extra_seconds(self) -> float:
        """Seconds of recomputation this plan adds to the unplanned step."""
        return self.seconds - self.base_seconds

    def encode(self) -> bytes:
        """The plan as a JSON document."""
        return msgspec.json.encode(self)

    def write(self, path: Path) -> None:
        """Write a plan file, compressed if `path` ends in `.gz`; never half a file."""
        files.write(path, self.encode())


def decode(data: bytes, where: str = "plan") -> Plan:
    """Read a plan document. Raises BadInput; whether the plan is legal is the validator's word."""
    return files.decode(data, Plan, where)


def read(path: Path) -> Plan:
    """Read a plan file (`.json` or `.json.gz`). Raises BadInput."""
    return decode(files.read(path), str(path))
