"""A profile from a memory snapshot that was taken without fastsa. Knows nothing of torch.

Source: `torch.cuda.memory._snapshot`. As in a recording, an "alloc" counts when it is made and a
release when the program asks for it ("free_requested"). The history has the sizes asked for; they
are rounded here as the allocator does, which leaves out what it cannot split off a large block.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from fastsa.errors import BadInput
from fastsa.profiler import pickle_reader
from fastsa.records.profile import Profile
from fastsa.records.timeline import CATEGORIES, Allocation, Category, Site, Timeline

GRAIN = 512  # the CUDA caching allocator's
MOST = (1 << 63) - 1

Number = Annotated[int, msgspec.Meta(ge=0, le=MOST)]


class _Entry(msgspec.Struct):
    action: str
    addr: Number = 0
    size: Number = 0
    time_us: Number | None = None
    category: Any = None
    frames: Any = ()


class _Block(msgspec.Struct):
    size: Number
    state: str
    requested_size: Number | None = None
    address: Number | None = None
    category: Any = None
    frames: Any = ()


class _Segment(msgspec.Struct):
    address: Number
    blocks: list[Any]
    device: int = 0


class _Mark(msgspec.Struct):
    """What a snapshot exported by fastsa says of where it comes from."""

    script: str
    model: str
    shape: str
    device: str


class _Snapshot(msgspec.Struct):
    device_traces: list[list[Any]]
    segments: list[Any]
    fastsa: _Mark | None = None


def read(path: Path) -> Profile:
    """The profile in a snapshot file. Raises BadInput."""
    data = pickle_reader.read(path)
    try:
        snapshot = msgspec.convert(data, _Snapshot)
        return _Reader(snapshot).profile(path)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadInput(
            f"{path}: no memory snapshot of PyTorch: {error}",
            hint="give a file of torch.cuda.memory._dump_snapshot",
        ) from error


class _Reader:
    """Pairs what happened on the device with the most events."""

    def __init__(self, snapshot: _Snapshot) -> None:
        self.mark = snapshot.fastsa
        self.blocks = list(_alive(snapshot.segments))
        self.device = _busiest(snapshot.device_traces, [device for device, _, _ in self.blocks])
        traces = snapshot.device_traces
        self.trace = traces[self.device] if self.device < len(traces) else []
        self.others = sum(map(bool, traces)) - bool(self.trace)
        self.at_end = {a: block for device, a, block in self.blocks if device == self.device}
        self.start: int | None = None
        self.last: int | None = None
        self.out_of_memory = self.events = 0
        self.open: dict[int, Allocation] = {}
        self.seen: set[int] = set()
        self.done: list[Allocation] = []
        self.sites: dict[Site, int] = {}
        self.sources: dict[int, str | None] = {}

    def profile(self, path: Path) -> Profile:
        """The profile; its script and model are unknown unless the snapshot is one of ours."""
        timeline = self.timeline()
        mark = self.mark or _Mark(path.name, "unknown", "", f"CUDA device {self.device}")
        return Profile(
            schema="fastsa.profile/2",
            created=self.created(path),
            script=mark.script,
            arguments=(),
            model=mark.model,
            parameters=0,
            shape=mark.shape,
            device=mark.device,
            versions={},
            resident_bytes=timeline.resident_bytes,
            peak_bytes=timeline.peak_bytes,
            step_seconds=None,
            timeline=timeline,
            saved=(),
            regions=(),
            missing=tuple(self.missing()),
        )

    def created(self, path: Path) -> str:
        seconds = path.stat().st_mtime if self.last is None else self.last / 1e6
        try:
            moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        except (OverflowError, ValueError, OSError):  # a year beyond 9999
            moment = datetime.datetime.fromtimestamp(0, datetime.UTC)
        return moment.isoformat(timespec="seconds")

    def missing(self) -> Iterator[str]:
        yield "imported from a memory snapshot: it has no ops, modules, times or saved tensors"
        if not self.events:
            yield "the snapshot has no history: only what was alive when it was taken is known"
        if self.others:
            yield f"{self.others} other devices of the snapshot were left out"
        if self.out_of_memory:
            yield f"an allocation failed {self.out_of_memory} times for lack of memory"

    def timeline(self) -> Timeline:
        """The allocations of the history, and what was alive all along."""
        for raw in self.trace:
            self.add(msgspec.convert(raw, _Entry))
        for address, block in self.at_end.items():
            if address not in self.seen:
                site = self.site(block.category, block.frames, "other")
                self.done.append(Allocation(self.held(block), None, None, None, None, site))
            elif address in self.open:
                # What the allocator could not split off is known of these.
                known = self.open.pop(address)
                self.done.append(msgspec.structs.replace(known, bytes=self.held(block)))
        self.done += self.open.values()
        return _timeline(self.done, self.events, tuple(self.sites))

    def add(self, entry: _Entry) -> None:
        if self.start is None:
            self.start = entry.time_us
        self.last = entry.time_us or self.last
        match entry.action:
            case "alloc":
                self.close(entry)
                site = self.site(entry.category, entry.frames, "temporary")
                size, seconds = self.rounded(entry.size), self.seconds(entry)
                self.open[entry.addr] = Allocation(size, self.events, None, seconds, None, site)
            case "free_requested":
                if not self.close(entry):  # allocated before the history begins
                    site = self.site(entry.category, entry.frames, "other")
                    size, seconds = self.rounded(entry.size), self.seconds(entry)
                    self.done.append(Allocation(size, None, self.events, None, seconds, site))
            case "oom":
                self.out_of_memory += 1
                return
            case _:
                return
        self.seen.add(entry.addr)
        self.events += 1

    def close(self, entry: _Entry) -> bool:
        known = self.open.pop(entry.addr, None)
        if known is None:
            return False
        ended = {"death": self.events, "death_seconds": self.seconds(entry)}
        self.done.append(msgspec.structs.replace(known, **ended))
        return True

    def seconds(self, entry: _Entry) -> float | None:
        if entry.time_us is None or self.start is None:
            return None
        return max(0, entry.time_us - self.start) / 1e6

    def rounded(self, size: int) -> int:
        return size if self.mark else max(1, -(-size // GRAIN)) * GRAIN

    def held(self, block: _Block) -> int:
        exact = self.mark and block.requested_size is not None
        return block.requested_size or 0 if exact else block.size

    def site(self, category: Any, frames: Any, otherwise: Category) -> int:
        known = category if category in CATEGORIES else otherwise
        # Entries share lists of frames; the snapshot keeps them alive, so that ids stay theirs.
        if id(frames) not in self.sources:
            self.sources[id(frames)] = _source(frames)
        site = Site(known, source=self.sources[id(frames)])
        return self.sites.setdefault(site, len(self.sites))


def _alive(segments: list[Any]) -> Iterator[tuple[int, int, _Block]]:
    """(device, address, block) of what is allocated at the end."""
    for raw in segments:
        segment = msgspec.convert(raw, _Segment)
        address = segment.address
        for each in segment.blocks:
            block = msgspec.convert(each, _Block)
            if block.state == "active_allocated":
                yield segment.device, block.address or address, block
            address += block.size


def _busiest(traces: list[list[Any]], devices: list[int]) -> int:
    if any(traces):
        return max(range(len(traces)), key=lambda device: len(traces[device]))
    return max(devices, key=devices.count, default=0)


def _source(frames: Any) -> str | None:
    """The innermost line outside of torch."""
    for frame in frames if isinstance(frames, list | tuple) else ():
        name, line = (
            (frame.get("filename"), frame.get("line")) if isinstance(frame, dict) else (0, 0)
        )
        if not (isinstance(name, str) and isinstance(line, int)):
            continue
        if name.endswith(".py") and "/torch/" not in name and "/fastsa/" not in name:
            return f"{name}:{line}"
    return None


def _timeline(blocks: list[Allocation], events: int, sites: tuple[Site, ...]) -> Timeline:
    changes = [0] * events
    for block in blocks:
        if block.birth is not None:
            changes[block.birth] += block.bytes
        if block.death is not None:
            changes[block.death] -= block.bytes
    resident = sum(block.bytes for block in blocks if block.birth is None)
    alive = peak = resident
    peak_event = 0
    for event, change in enumerate(changes):
        alive += change
        if alive > peak:
            peak, peak_event = alive, event
    if peak > MOST:
        raise msgspec.ValidationError("its blocks have more than 2^63 bytes together")
    times = (s for block in blocks for s in (block.birth_seconds, block.death_seconds) if s)
    return Timeline(
        events=events,
        resident_bytes=resident,
        peak_bytes=peak,
        peak_event=peak_event,
        seconds=max(times, default=0.0),
        sites=sites,
        allocations=tuple(blocks),
    )
