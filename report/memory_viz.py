"""A profile as a snapshot for PyTorch's memory viewer (pytorch.org/memory_viz).

The layout is that of `torch.cuda.memory._snapshot`. A timeline has no addresses: they are invented
here, so that blocks never overlap; how full the segment looks says nothing. What was alive before
the step is a block of the segment, without an event, as in a snapshot of PyTorch's own.
"""

from __future__ import annotations

import datetime
import pickle
from collections import defaultdict
from collections.abc import Iterator

from fastsa.errors import BadInput
from fastsa.records.profile import Profile
from fastsa.records.timeline import Allocation, Site
from fastsa.report.events import in_order
from fastsa.version import __version__

FIRST_ADDRESS = 0x7F00_0000_0000  # where a real one may be; the viewer wants less than 2^53
GRAIN = 512
Plain = None | int | str | list["Plain"] | dict[str, "Plain"]
MARK = "fastsa"  # this key says that a snapshot is ours, and its sizes are exact


def encode(profile: Profile) -> bytes:
    """The snapshot as a pickle of protocol 4, of plain data only: nothing in it can be called.

    Raises:
        BadInput: A number takes more than the 8 bytes that the viewer reads.
    """
    trace = _Trace(profile)
    entries = list(trace.entries())
    if trace.end >= 1 << 63:
        raise BadInput("the addresses take more than 8 bytes", hint="export it in another format")
    snapshot = {
        MARK: _about(profile),
        "device_traces": [entries],
        "segments": trace.segments(),
        "allocator_settings": {},
        "external_annotations": [],
    }
    return pickle.dumps(snapshot, protocol=4)


def _about(profile: Profile) -> dict[str, str]:
    return {
        "version": __version__,
        "script": _text(profile.script),
        "model": _text(profile.model),
        "shape": _text(profile.shape),
        "device": _text(profile.device),
    }


class _Trace:
    """Plays the timeline: every block gets a place when it is born."""

    def __init__(self, profile: Profile) -> None:
        self.timeline = profile.timeline
        self.start = _microseconds(profile.created)
        self.addresses: dict[int, int] = {}  # of the allocations that are alive
        self.free: defaultdict[int, list[int]] = defaultdict(list)  # by size
        # One list a site: what is there twice is written once, and referred to.
        self.frames: list[list[Plain]] = [_frames(site) for site in self.timeline.sites]
        self.end = FIRST_ADDRESS
        for index, block in enumerate(self.timeline.allocations):
            if block.birth is None:
                self.place(index, block)

    def place(self, index: int, block: Allocation) -> int:
        size = _room(block)
        if self.free[size]:
            address = self.free[size].pop()
        else:
            address = self.end
            self.end += size
        self.addresses[index] = address
        return address

    def entries(self) -> Iterator[dict[str, Plain]]:
        """The events, in the order of the timeline."""
        # The viewer fails on a snapshot with categories and without this one.
        yield self.entry("snapshot", 0, 0, self.start, None)
        for _, born, index in in_order(self.timeline):
            block = self.timeline.allocations[index]
            if born:
                address, moment = self.place(index, block), (block.birth, block.birth_seconds)
                actions: tuple[str, ...] = ("alloc",)
            else:
                address, moment = self.addresses.pop(index), (block.death, block.death_seconds)
                self.free[_room(block)].append(address)
                actions = ("free_requested", "free_completed")
            for action in actions:
                yield self.entry(action, address, block.bytes, self.time(*moment), block.site)

    def entry(
        self, action: str, address: int, size: int, time: int, site: int | None
    ) -> dict[str, Plain]:
        return {
            "action": action,
            "addr": address,
            "size": size,
            "stream": 0,
            "time_us": time,
            **self.place_of(site),
        }

    def place_of(self, site: int | None) -> dict[str, Plain]:
        if site is None:
            return {"category": "unknown", "frames": []}
        return {"category": self.timeline.sites[site].category, "frames": self.frames[site]}

    def time(self, event: int | None, seconds: float | None) -> int:
        """Microseconds since 1970; where only the order is known, one for each event."""
        return self.start + ((event or 0) if seconds is None else round(seconds * 1e6))

    def segments(self) -> list[dict[str, Plain]]:
        """The one segment, as it is after the last event."""
        if self.end == FIRST_ADDRESS:
            return []
        alive = sum(self.timeline.allocations[index].bytes for index in self.addresses)
        return [
            {
                "device": 0,
                "address": FIRST_ADDRESS,
                "total_size": self.end - FIRST_ADDRESS,
                "allocated_size": alive,
                "active_size": alive,
                "requested_size": alive,
                "stream": 0,
                "segment_type": "large",
                "segment_pool_id": [0, 0],
                "is_expandable": False,
                "frames": [],
                "blocks": list(self.blocks()),
            }
        ]

    def blocks(self) -> Iterator[Plain]:
        address = FIRST_ADDRESS
        for start, index in sorted((start, index) for index, start in self.addresses.items()):
            block = self.timeline.allocations[index]
            if start > address:
                yield self.block(address, start - address, 0, "inactive", None)
            yield self.block(start, _room(block), block.bytes, "active_allocated", block.site)
            address = start + _room(block)
        if address < self.end:
            yield self.block(address, self.end - address, 0, "inactive", None)

    def block(self, address: int, size: int, requested: int, state: str, site: int | None) -> Plain:
        return {
            "address": address,
            "size": size,
            "requested_size": requested,
            "state": state,
            **self.place_of(site),
        }


def _room(block: Allocation) -> int:
    return max(1, -(-block.bytes // GRAIN)) * GRAIN


def _frames(site: Site) -> list[Plain]:
    """The user's line, and a line that says all there is to know."""
    parts = [site.category, site.phase, site.op, site.module]
    words = [each for each in parts if each] + ([f"kept by {site.node}"] if site.node else [])
    frames: list[Plain] = [{"filename": MARK, "line": 0, "name": _text(", ".join(words))}]
    if site.source:
        file, _, line = site.source.rpartition(":")
        if file and line.isdecimal() and len(line) < 10:
            frames.insert(
                0, {"filename": _text(file), "line": int(line), "name": _text(site.op or "?")}
            )
    return frames


def _text(text: str) -> str:
    """Without half characters, which a path may have and UTF-8 has not."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _microseconds(created: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(created)
    except ValueError:
        return 0
    return int(moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp() * 1e6)
