"""Builds a timeline: pairs each allocation of a step with its release, and says what it was for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastsa.instrumentation.allocators.cupy import OP as LIBRARY_OP
from fastsa.instrumentation.allocators.lifetimes import Lifetimes, LiveBlock
from fastsa.instrumentation.storages import Storage
from fastsa.profiler.trace import TracedBlock
from fastsa.records.timeline import Allocation, Category, Site, Timeline

_RANK: dict[Category, int] = {
    "library": 5,
    "parameter": 4,
    "buffer": 4,
    "optimizer": 4,
    "gradient": 3,
    "input": 2,
    "activation": 1,
}
"""A block that was saved and became a gradient is a gradient."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a block is for, the module whose it is, and the autograd node that keeps it."""

    category: Category
    module: str | None = None
    node: str | None = None


@dataclass(frozen=True)
class Labels:
    """What is known of blocks, by address, just before event number `event`."""

    event: int
    known: Mapping[int, Label]


@dataclass(slots=True)
class _About:
    """What is known of a block: how it was made, if that was seen, and what it is for."""

    block: TracedBlock | None
    label: Label | None


def build(
    blocks: Sequence[TracedBlock],
    start: int,
    end: int,
    alive: Mapping[int, Storage],
    labels: Sequence[Labels],
    resident_bytes: int,
    library_bytes: int = 0,
) -> Timeline:
    """The timeline from `start` to `end`, in nanoseconds like the blocks'.

    `alive` are the known storages at its start, `resident_bytes` what was allocated then in all;
    `library_bytes` of that are another library's; what nobody knows is of category "other".
    """
    builder = _Builder(blocks, start)
    builder.begin(alive, resident_bytes, library_bytes)
    waiting = sorted(labels, key=lambda each: each.event, reverse=True)
    for number, block in enumerate(blocks):
        while waiting and waiting[-1].event <= number:
            builder.label(waiting.pop().known)
        builder.add(number, block)
    while waiting:
        builder.label(waiting.pop().known)
    return builder.finish((end - start) / 1e9)


class _Builder:
    def __init__(self, blocks: Sequence[TracedBlock], start: int) -> None:
        self.blocks = blocks
        self.start = start
        self.lifetimes = Lifetimes[_About]()
        self.done: list[Allocation] = []
        self.sites: dict[Site, int] = {}
        self.unknown: dict[Category, int] = {"other": 0, "library": 0}
        self.alive = self.resident = self.peak = 0
        self.peak_event = -1

    def begin(self, alive: Mapping[int, Storage], resident_bytes: int, library_bytes: int) -> None:
        for address, storage in alive.items():
            label = Label(storage.category, storage.module)
            self.lifetimes.allocate(address, LiveBlock(None, storage.bytes, _About(None, label)))
        known = sum(storage.bytes for storage in alive.values())
        self.unknown["library"] = library_bytes
        self.unknown["other"] = max(0, resident_bytes - library_bytes - known)
        self.alive = self.resident = self.peak = known + sum(self.unknown.values())

    def add(self, number: int, block: TracedBlock) -> None:
        if block.bytes > 0:
            self.allocate(number, block)
        else:
            self.release(number, block)
        if self.alive > self.peak:
            self.peak, self.peak_event = self.alive, number

    def allocate(self, number: int, block: TracedBlock) -> None:
        held = LiveBlock(number, block.bytes, _About(block, None))
        before = self.lifetimes.allocate(block.address, held)
        if before is not None:
            self.close(before, number, None)
        self.alive += block.bytes

    def release(self, number: int, block: TracedBlock) -> None:
        # Without bytes it is its tensor that has ended.
        held = self.lifetimes.release(block.address, is_early=not block.bytes)
        if held is not None:
            self.close(held, number, block)
        elif not self.lifetimes.is_repeated(block.address):
            self.close_unknown(number, block)

    def label(self, known: Mapping[int, Label]) -> None:
        for address, label in known.items():
            held = self.lifetimes.held.get(address)
            if held is not None and _rank(label) > _rank(held.about.label):
                held.about.label = label

    def close_unknown(self, number: int, block: TracedBlock) -> None:
        """A release of something that was alive before and that Python cannot reach."""
        category: Category = "library" if block.op == LIBRARY_OP else "other"
        size = min(-block.bytes, self.unknown[category])
        if size:
            self.unknown[category] -= size
            self.alive -= size
            site = self.site(Site(category))
            self.done.append(Allocation(size, None, number, None, self.seconds(number), site))

    def close(
        self, held: LiveBlock[_About], death: int | None, released: TracedBlock | None
    ) -> None:
        if death is not None:
            self.alive -= held.bytes
        self.done.append(
            Allocation(
                held.bytes,
                held.birth,
                death,
                self.seconds(held.birth),
                self.seconds(death),
                self.site(_site(held.about, released)),
            )
        )

    def site(self, site: Site) -> int:
        return self.sites.setdefault(site, len(self.sites))

    def seconds(self, number: int | None) -> float | None:
        return None if number is None else (self.blocks[number].nanoseconds - self.start) / 1e9

    def finish(self, seconds: float) -> Timeline:
        for held in self.lifetimes.held.values():
            self.close(held, None, None)
        for category, size in self.unknown.items():
            if size:
                site = self.site(Site(category))
                self.done.append(Allocation(size, None, None, None, None, site))
        return Timeline(
            events=len(self.blocks),
            resident_bytes=self.resident,
            peak_bytes=self.peak,
            peak_event=self.peak_event,
            seconds=seconds,
            sites=tuple(self.sites),
            allocations=tuple(self.done),
        )


def _rank(label: Label | None) -> int:
    return 0 if label is None else _RANK.get(label.category, 0)


def _site(about: _About, released: TracedBlock | None) -> Site:
    label, block = about.label, about.block
    if block is None:
        known = label or Label("other")
        return Site(known.category, module=known.module, node=known.node)
    module, source = block.place
    return Site(
        category=label.category if _rank(label) and label else _unlabelled(block, released),
        phase=block.phase,
        op=block.op,
        module=(label.module if label else None) or module,
        source=source,
        node=label.node if label else None,
    )


def _unlabelled(block: TracedBlock, released: TracedBlock | None) -> Category:
    if block.op == LIBRARY_OP:
        return "library"
    within = released is not None and block.call and released.call == block.call
    return "workspace" if within else "temporary"
