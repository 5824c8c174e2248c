"""Settings of a planned job, from `torch.compile`'s options or the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from fastsa.config import LONGEST
from fastsa.errors import BadInput
from fastsa.planner.budget import Budget, parse
from fastsa.planner.options import SearchOptions

OFF = "FASTSA_DISABLE"
"""Environment variable: any value but empty or 0 makes every job train unplanned."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asks for. `time_limit` is seconds of planning when no stored plan serves.

    `rank_timeout`: seconds that a rank of a job of several waits for another one.
    """

    budget: Budget
    time_limit: float = 5.0
    threads: int = 1
    seed: int = 0
    best_effort: bool = False
    store: Path | None = None
    rank_timeout: float = 60.0

    def __post_init__(self) -> None:
        """Raises ValueError for what no planner can be told."""
        for name in ("time_limit", "rank_timeout"):
            if not 0 <= getattr(self, name) <= LONGEST:  # nan is not, either
                raise ValueError(f"{name} must be seconds, from 0 to {LONGEST:.0f}")
        if not 0 <= self.seed < 2**63:
            raise ValueError("seed must be a whole number from 0 to 2^63 - 1")
        if not 1 <= self.threads <= 1024:
            raise ValueError("threads must be a whole number from 1 to 1024")

    @property
    def search(self) -> SearchOptions:
        """How to plan."""
        return SearchOptions(time_limit=self.time_limit, seed=self.seed, threads=self.threads)


def from_options(
    options: Mapping[str, Any], configured: Mapping[str, Any] = MappingProxyType({})
) -> Settings:
    """Settings from `torch.compile(..., options={...})`, else from the config. Raises BadInput."""
    known = {field.name for field in msgspec.structs.fields(Settings)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise BadInput(
            f"fastsa has no option {', '.join(unknown)}", hint=f"it has {', '.join(sorted(known))}"
        )
    values = {**configured, **options}
    if "budget" not in values:
        raise BadInput(
            "fastsa needs a budget", hint='give options={"budget": "40GiB"}, "50%" or "auto"'
        )
    budget = values["budget"]
    if not isinstance(budget, (int, str)):
        raise BadInput(f"budget {budget!r}: not a budget", hint='give "40GiB", "50%" or "auto"')
    values["budget"] = parse(str(budget))
    if isinstance(values.get("store"), str):
        values["store"] = Path(values["store"])
    try:
        return msgspec.convert(values, Settings, strict=True, from_attributes=True)
    except msgspec.ValidationError as error:
        raise BadInput(f"fastsa options: {error}", hint="see docs/runtime.md") from error
