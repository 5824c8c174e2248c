"""A profile in the formats of other programs."""

from __future__ import annotations

from typing import Literal, get_args

from fastsa.errors import BadInput
from fastsa.planner.graph import Graph
from fastsa.records.profile import Profile

Format = Literal["graph", "profile", "json", "csv", "chrome-trace", "memory-viz"]
FORMATS: tuple[Format, ...] = get_args(Format)
BINARY: tuple[Format, ...] = ("memory-viz",)


def encode(profile: Profile, what: Format, region: int | None = None) -> bytes:
    """The file. `region` says which graph. Raises BadInput for what this profile has not."""
    if region is not None and what != "graph":
        raise BadInput(f"{what} is of the whole profile", hint="leave --region out")
    match what:
        case "graph":
            return _graph(profile, region).encode()
        case "profile" | "json":
            return profile.encode()
        case "csv":
            from fastsa.report import allocation_csv

            return allocation_csv.encode(profile)
        case "chrome-trace":
            from fastsa.report import chrome_trace

            return chrome_trace.encode(profile)
        case "memory-viz":
            from fastsa.report import memory_viz

            return memory_viz.encode(profile)


def _graph(profile: Profile, region: int | None) -> Graph:
    count = len(profile.regions)
    if not count:
        raise BadInput("this profile has no captured graph", hint="export it with --what profile")
    if region is None and profile.graph is not None:
        return profile.graph
    if region is None:
        raise BadInput(
            f"this profile has {count} regions", hint=f"choose one with --region 0 to {count - 1}"
        )
    chosen = region or 0
    if not 0 <= chosen < count:
        raise BadInput(f"there is no region {chosen}", hint=f"regions are 0 to {count - 1}")
    return profile.regions[chosen].graph
