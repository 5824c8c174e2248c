"""A profile as a snapshot for PyTorch's memory viewer (pytorch.org/memory_viz).

The layout is that of `torch.cuda.memory._snapshot`. A timeline has no addresses: they are invented
here, so that blocks never overlap; how full the segment looks says nothing. What was alive before
the step is a block of the segment, without an event, as in a snapshot of PyTorch's own.
"""

from __future__ import annotations

import datetime
import io
from collections import defaultdict
from collections.abc import Callable, Iterator

from fastsa.records.profile import Profile
from fastsa.records.timeline import Allocation, Site
from fastsa.report.events import in_order
from fastsa.report.plain_pickle import START, STOP, Plain, PlainPickle, integer, listed
from fastsa.version import __version__

FIRST_ADDRESS = 0x7F00_0000_0000  # where a real one may be; the viewer wants less than 2^53
GRAIN = 512
MARK = "fastsa"  # this key says that a snapshot is ours, and its sizes are exact


def encode(profile: Profile) -> bytes:
    """The snapshot as a pickle of protocol 4. Raises BadInput if addresses take over 8 bytes."""
    pickle = PlainPickle()
    trace = _Trace(profile, pickle)
    file = io.BytesIO()
    file.write(START + b"}(" + pickle.value(MARK) + pickle.value(_about(profile)))
    file.write(pickle.value("device_traces") + b"](")
    file.writelines(listed(trace.entries()))
    file.write(b"e" + pickle.value("segments"))
    file.writelines(listed(trace.segments()))
    file.write(pickle.value("allocator_settings") + b"}")
    file.write(pickle.value("external_annotations") + b"]")
    file.write(b"u" + STOP)
    return file.getvalue()


def _about(profile: Profile) -> dict[str, Plain]:
    return {
        "version": __version__,
        "script": profile.script,
        "model": profile.model,
        "shape": profile.shape,
        "device": profile.device,
    }


class _Trace:
    """Plays the timeline: every block gets a place when it is born."""

    def __init__(self, profile: Profile, pickle: PlainPickle) -> None:
        self.timeline = profile.timeline
        self.pickle = pickle
        self.start = _microseconds(profile.created)
        self.addresses: dict[int, int] = {}  # of the allocations that are alive
        self.free: defaultdict[int, list[int]] = defaultdict(list)  # by size
        self.known: dict[str | int | None, bytes] = {}
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

    def entries(self) -> Iterator[bytes]:
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

    def entry(self, action: str, address: int, size: int, time: int, site: int | None) -> bytes:
        known = self.known
        # One after the other: what is written first is referred to later.
        return b"".join(
            (
                known.get(action) or self.first(action, self.head, action),
                integer(address),
                known.get("size") or self.first("size", self.pickle.value, "size"),
                integer(size),
                known.get("time") or self.first("time", self.middle),
                integer(time),
                known.get(site) or self.first(site, self.tail, site),
            )
        )

    def first(
        self, key: str | int | None, encode: Callable[..., bytes], *arguments: str | int | None
    ) -> bytes:
        """A part that many entries have: encoded again it is references only, and stays so."""
        data = encode(*arguments)
        self.known[key] = encode(*arguments)
        return data

    def middle(self) -> bytes:
        value = self.pickle.value
        return value("stream") + value(0) + value("time_us")

    def head(self, action: str) -> bytes:
        value = self.pickle.value
        return b"}(" + value("action") + value(action) + value("addr")

    def tail(self, site: int | None) -> bytes:
        value = self.pickle.value
        category = "unknown" if site is None else self.timeline.sites[site].category
        return value("category") + value(category) + value("frames") + self.frames(site) + b"u"

    def frames(self, site: int | None) -> bytes:
        found = [] if site is None else _frames(self.timeline.sites[site])
        return self.pickle.shared(site, found)

    def time(self, event: int | None, seconds: float | None) -> int:
        """Microseconds since 1970; where only the order is known, one for each event."""
        return self.start + ((event or 0) if seconds is None else round(seconds * 1e6))

    def segments(self) -> Iterator[bytes]:
        """The one segment, as it is after the last event."""
        if self.end == FIRST_ADDRESS:
            return
        value = self.pickle.value
        alive = sum(self.timeline.allocations[index].bytes for index in self.addresses)
        facts: dict[str, Plain] = {
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
        }
        # Without its end, so that the dict goes on.
        yield value(facts)[:-1] + value("blocks") + b"".join(listed(self.blocks())) + b"u"

    def blocks(self) -> Iterator[bytes]:
        address = FIRST_ADDRESS
        for start, index in sorted((start, index) for index, start in self.addresses.items()):
            block = self.timeline.allocations[index]
            if start > address:
                yield self.block(address, start - address, 0, "inactive", None)
            yield self.block(start, _room(block), block.bytes, "active_allocated", block.site)
            address = start + _room(block)
        if address < self.end:
            yield self.block(address, self.end - address, 0, "inactive", None)

    def block(self, address: int, size: int, requested: int, state: str, site: int | None) -> bytes:
        facts: dict[str, Plain] = {
            "address": address,
            "size": size,
            "requested_size": requested,
            "state": state,
        }
        return self.pickle.value(facts)[:-1] + self.tail(site)


def _room(block: Allocation) -> int:
    return max(1, -(-block.bytes // GRAIN)) * GRAIN


def _frames(site: Site) -> list[Plain]:
    """The user's line, and a line that says all there is to know."""
    told = [site.category, site.phase, site.op, site.module]
    words = [each for each in told if each] + ([f"kept by {site.node}"] if site.node else [])
    frames: list[Plain] = [{"filename": MARK, "line": 0, "name": ", ".join(words)}]
    if site.source:
        file, _, line = site.source.rpartition(":")
        if file and line.isdecimal() and len(line) < 10:
            frames.insert(0, {"filename": file, "line": int(line), "name": site.op or "?"})
    return frames


def _microseconds(created: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(created)
    except ValueError:
        return 0
    return int(moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp() * 1e6)
