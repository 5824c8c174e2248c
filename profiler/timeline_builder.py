"""Builds a timeline: pairs each allocation of a step with its release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastsa.profiler.allocator import Event
from fastsa.profiler.resident import Storage
from fastsa.profiler.timeline import Allocation, Category, Site, Timeline


@dataclass(frozen=True)
class Snapshot:
    """The known storages by address, just before event number `event`."""

    event: int
    storages: Mapping[int, Storage]


def build(
    events: Sequence[Event],
    alive: Mapping[int, Storage],
    labels: Snapshot,
    saved: frozenset[int],
    resident_bytes: int,
) -> Timeline:
    """The timeline of one step.

    `alive` are the known storages at the step's start, `labels` those after the optimizer's step,
    which say what the blocks born meanwhile are; `saved` are the addresses autograd keeps,
    `resident_bytes` what was allocated at the start in all. Blocks allocated before that nobody
    knows are one allocation of category "other".
    """
    builder = _Builder(events, saved)
    unknown = resident_bytes - sum(storage.bytes for storage in alive.values())
    builder.begin(alive, max(0, unknown))
    for number, event in enumerate(events):
        if number == labels.event:
            builder.label(labels.storages)
        builder.add(number, event)
    return builder.finish(resident_bytes)


class _Builder:
    def __init__(self, events: Sequence[Event], saved: frozenset[int]) -> None:
        self.events = events
        self.start = events[0].nanoseconds if events else 0
        self.saved = saved
        self.open: dict[int, tuple[int | None, int, Category, Event | None]] = {}
        self.done: list[Allocation] = []
        self.sites: dict[Site, int] = {}

    def begin(self, alive: Mapping[int, Storage], unknown: int) -> None:
        for address, storage in alive.items():
            self.open[address] = (None, storage.bytes, storage.category, None)
        if unknown:
            self.done.append(Allocation(unknown, None, None, None, None, self.site("other", None)))

    def add(self, number: int, event: Event) -> None:
        if event.bytes > 0:
            self.open[event.address] = (number, event.bytes, self.category(event.address), event)
        elif event.address in self.open:
            self.close(event.address, number)

    def label(self, known: Mapping[int, Storage]) -> None:
        for address, storage in known.items():
            if address in self.open and storage.category != "other":
                birth, size, _, event = self.open[address]
                self.open[address] = (birth, size, storage.category, event)

    def category(self, address: int) -> Category:
        return "activation" if address in self.saved else "temporary"

    def site(self, category: Category, event: Event | None) -> int:
        site = Site(category)
        if event is not None:
            site = Site(category, op=event.op, source=event.source)
        return self.sites.setdefault(site, len(self.sites))

    def seconds(self, number: int | None) -> float | None:
        if number is None:
            return None
        return (self.events[number].nanoseconds - self.start) / 1e9

    def close(self, address: int, death: int | None) -> None:
        birth, size, category, event = self.open.pop(address)
        self.done.append(
            Allocation(
                bytes=size,
                birth=birth,
                death=death,
                birth_seconds=self.seconds(birth),
                death_seconds=self.seconds(death),
                site=self.site(category, event),
            )
        )

    def finish(self, resident_bytes: int) -> Timeline:
        for address in list(self.open):
            self.close(address, None)
        alive = peak = resident_bytes
        peak_event = 0
        for number, event in enumerate(self.events):
            alive += event.bytes
            if alive > peak:
                peak, peak_event = alive, number
        return Timeline(
            events=len(self.events),
            resident_bytes=resident_bytes,
            peak_bytes=peak,
            peak_event=peak_event,
            seconds=self.seconds(len(self.events) - 1) or 0.0 if self.events else 0.0,
            sites=tuple(self.sites),
            allocations=tuple(self.done),
        )
