"""A timeline's allocations and releases, one by one, in the order of its events."""

from __future__ import annotations

from collections.abc import Iterator

from fastsa.records.timeline import Timeline

_BORN, _INDEX = 1 << 32, (1 << 32) - 1


def in_order(timeline: Timeline) -> Iterator[tuple[int, bool, int]]:
    """(event, is it a birth, position of the allocation); at one event, releases come first."""
    keys = []  # one integer each: a million tuples would take a lot of memory
    for index, block in enumerate(timeline.allocations):
        if block.birth is not None and block.birth == block.death:
            continue  # never alive
        if block.death is not None:
            keys.append(block.death << 33 | index)
        if block.birth is not None:
            keys.append(block.birth << 33 | _BORN | index)
    keys.sort()
    for key in keys:
        yield key >> 33, bool(key & _BORN), key & _INDEX
