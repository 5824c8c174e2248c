"""Profiles in files: documents of fastsa and memory snapshots of PyTorch, told by their content."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fastsa.errors import BadInput
from fastsa.planner import files
from fastsa.planner import graph as graphs
from fastsa.profiler import snapshot
from fastsa.records import profile_versions
from fastsa.records.profile import Profile
from fastsa.records.timeline import Allocation, Timeline

PICKLE = b"\x80"  # the first byte of every pickle of protocol 2 and later; no JSON begins so


def read(path: Path) -> Profile:
    """The profile in a file, whoever wrote it. Raises BadInput."""
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read: {error.strerror}", hint="check the path"
        ) from error
    if first == PICKLE:
        return snapshot.read(path)
    return decode(files.read(path), str(path))


def decode(data: bytes, where: str = "profile") -> Profile:
    """Parse and check a document of any version. Raises BadInput naming place and reason."""
    hint = "give a profile of 'fastsa export --what profile', or a memory snapshot of PyTorch"
    try:
        profile = profile_versions.decode(data)
        _check(profile.timeline)
        for region in profile.regions:
            graphs.check(region.graph, where)
        if profile.step is not None:
            graphs.check(profile.step, where)
    except RecursionError as error:
        raise BadInput(f"{where}: nested too deep", hint=hint) from error
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise BadInput(f"{where}: {error}", hint=hint) from error
    return profile


def _check(timeline: Timeline) -> None:
    """Raises ValidationError unless every allocation makes sense by itself."""
    if not 0 <= timeline.peak_event <= timeline.events:
        raise msgspec.ValidationError("there is no such event - at `$.timeline.peak_event`")
    for position, block in enumerate(timeline.allocations):
        reason = _nonsense(block, timeline)
        if reason:
            place = f"$.timeline.allocations[{position}]"
            raise msgspec.ValidationError(f"{reason} - at `{place}`")


def _nonsense(block: Allocation, timeline: Timeline) -> str | None:
    if block.bytes < 0:
        return "its bytes are negative"
    if not 0 <= block.site < len(timeline.sites):
        return f"there is no site {block.site}"
    first = 0 if block.birth is None else block.birth
    last = timeline.events if block.death is None else block.death
    if not 0 <= first <= last <= timeline.events:
        return "its birth and death are no events in their order"
    return None
