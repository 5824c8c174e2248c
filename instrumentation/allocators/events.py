"""Allocator events: what the recordings of CPU, CUDA and CuPy have in common."""

from __future__ import annotations

from bisect import bisect_left
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import torch


@dataclass(frozen=True, slots=True)
class Event:
    """`bytes` allocated (positive) or released (negative) at `address`, by the op `op`."""

    nanoseconds: int
    bytes: int
    address: int
    op: str | None
    source: str | None = None


class Allocator(Protocol):
    """Context manager that records an allocator; `events` and `spans` are there after it ends.

    `spans` maps the name of each span entered while recording to its events, [first, last).
    """

    events: list[Event]
    spans: dict[str, tuple[int, int]]

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def span(self, name: str) -> AbstractContextManager[object]:
        """A named span of the recording."""
        ...


def rounded(size: int, device: torch.device) -> int:
    """Bytes the allocator takes for a request (c10/cuda/CUDACachingAllocator: kMinBlockSize)."""
    if device.type == "cuda":
        return (size + 511) // 512 * 512
    return size


def locate(events: list[Event], times: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Turn spans of nanoseconds into spans of event numbers."""
    clock = [event.nanoseconds for event in events]
    return {
        name: (bisect_left(clock, start), bisect_left(clock, end))
        for name, (start, end) in times.items()
    }


def peak_delta(events: list[Event]) -> int:
    """Highest number of bytes above the start while the events happen, at least 0."""
    alive = highest = 0
    for event in events:
        alive += event.bytes
        highest = max(highest, alive)
    return highest


def net(events: list[Event]) -> int:
    """Bytes allocated less bytes released."""
    return sum(event.bytes for event in events)
