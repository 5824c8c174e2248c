"""Blocks: the lives of the storages that a recording saw, found by address and moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastsa.instrumentation.allocators.events import Event
from fastsa.instrumentation.allocators.lifetimes import Lifetimes, LiveBlock

BEFORE = -1


@dataclass(frozen=True)
class StorageLife:
    """`bytes` allocated by event `birth` (-1: before) and released by `death`, if they were."""

    bytes: int
    birth: int
    death: int | None


class Blocks:
    """All blocks of a recording. A moment is the number of the next event."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.births: dict[int, StorageLife] = {}  # by event
        self.deaths: dict[int, StorageLife] = {}
        self._by_address: dict[int, list[StorageLife]] = {}
        lifetimes = Lifetimes[int]()  # of each block its birth
        for number, event in enumerate(events):
            address = event.address
            if event.bytes > 0:
                lifetimes.allocate(address, LiveBlock(number, event.bytes, number))
            elif (held := lifetimes.release(address)) is not None:
                self._add(address, StorageLife(held.bytes, held.about, number))
            else:
                self._add(address, StorageLife(-event.bytes, BEFORE, number))
        for address, held in lifetimes.held.items():
            self._add(address, StorageLife(held.bytes, held.about, None))

    def _add(self, address: int, block: StorageLife) -> None:
        if block.birth != BEFORE:
            self.births[block.birth] = block
        if block.death is not None:
            self.deaths[block.death] = block
        self._by_address.setdefault(address, []).append(block)

    def at(self, address: int, moment: int) -> StorageLife | None:
        """The block at an address; None if it was there before the recording, or is none."""
        for block in self._by_address.get(address, ()):
            if block.birth < moment and (block.death is None or block.death >= moment):
                return block
        return None
