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

    The format is `fastsa.plan/1` of docs/formats.md, the memory model too. Bytes are those of the
    step's own values, without the graph's resident bytes.

    Attributes:
        schema: Name and version of the format.
        graph: The graph's hash (`sha256:...`).
        status: `optimal`: the extra time meets the lower bound. `feasible`: within the budget.
            `not_found`: no plan within the budget was found in time, and this is the one with the
            lowest peak. `infeasible`: no plan can meet the budget; the sequence is empty.
        step_budget_bytes: The budget (`budget_bytes` in the document).
        sequence: Op ids.
        segment_starts: Position in the sequence where each segment starts.
        peak_bytes: The peak of this order.
        seconds: The time of this order.
        base_peak_bytes: The peak of the unplanned order.
        base_seconds: The time of the unplanned order.
        lower_bound_seconds: No legal plan within the budget takes less *extra* time.
        lower_bound_assumes: What the bound assumes, in words.
        minimum_budget_bytes: No plan exists below this budget.
        minimum_budget_op: Id of the op that sets the minimum.
        planner: Who made the plan, and with what effort.
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
        """Whether this is a legal plan within its budget, by its status; `validate` checks that."""
        return self.status in ("optimal", "feasible")

    @property
    def extra_seconds(self) -> float:
        """Seconds of recomputation this plan adds to the unplanned step.

        Without a sequence (`infeasible`) the number is `-base_seconds` and means nothing.
        """
        return self.seconds - self.base_seconds

    def encode(self) -> bytes:
        """Return the plan as a JSON document in UTF-8."""
        return msgspec.json.encode(self)

    def write(self, path: Path) -> None:
        """Write a plan file, whole or not at all.

        Args:
            path: The file; it is compressed if the name ends in `.gz`.

        Raises:
            FastsaError: The file cannot be written.
        """
        files.write(path, self.encode())


def decode(data: bytes, where: str = "plan") -> Plan:
    """Read a plan document. Checks its types; whether the plan is legal is for `validate`.

    Args:
        data: The JSON document.
        where: What error messages call the document.

    Returns:
        The plan.

    Raises:
        BadInput: The document is no plan; the message names the place and the reason.
    """
    return files.decode(data, Plan, where)


def read(path: Path) -> Plan:
    """Read a plan file, as `decode` reads a document.

    Args:
        path: A `.json` or `.json.gz` file of up to 1 GiB, decompressed.

    Returns:
        The plan.

    Raises:
        BadInput: The file cannot be read or is no plan.
    """
    return decode(files.read(path), str(path))
