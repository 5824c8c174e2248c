"""Lifetimes: pairs each allocation of a recording with its release, by address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class LiveBlock(Generic[T]):
    """A block that is alive: the event that made it (None: before the recording), its bytes."""

    birth: int | None
    bytes: int
    about: T


class Lifetimes(Generic[T]):
    """The blocks that are alive, by address; `T` is what the caller knows of each."""

    def __init__(self) -> None:
        self.held: dict[int, LiveBlock[T]] = {}
        self._released_early: set[int] = set()

    def allocate(self, address: int, block: LiveBlock[T]) -> LiveBlock[T] | None:
        """A block is made. Returns the one that was there, whose release was not seen."""
        self._released_early.discard(address)
        before = self.held.get(address)
        self.held[address] = block
        return before

    def release(self, address: int, *, is_early: bool = False) -> LiveBlock[T] | None:
        """A block ends. Returns it, None if its allocation was not seen.

        With `is_early` its storage has ended: the allocator may report the same release once more.
        """
        block = self.held.pop(address, None)
        if block is not None and is_early:
            self._released_early.add(address)
        return block

    def is_repeated(self, address: int) -> bool:
        """Whether a release without a block is the allocator's report of an early one."""
        if address in self._released_early:
            self._released_early.remove(address)
            return True
        return False
