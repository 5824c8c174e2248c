"""What is alive at a profile's peak: by category, by source line, and the largest blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from fastsa.records.timeline import CATEGORIES, Timeline


class Category(msgspec.Struct, frozen=True):
    """What one category holds at the peak."""

    category: str
    blocks: int
    bytes: int


class Block(msgspec.Struct, frozen=True):
    """A block alive at the peak. Seconds count from the start of the step."""

    bytes: int
    category: str
    op: str | None
    source: str | None
    birth_seconds: float | None
    death_seconds: float | None
    module: str | None = None
    phase: str | None = None
    node: str | None = None


class SourceLine(msgspec.Struct, frozen=True):
    """What the blocks born at one line hold at the peak; `op` and `category` have most of it."""

    source: str | None
    op: str | None
    category: str
    blocks: int
    bytes: int


def alive(timeline: Timeline) -> list[Block]:
    """The blocks that are alive at the peak, the largest first."""
    found = []
    for block in timeline.alive_at(timeline.peak_event):
        site = timeline.site(block)
        found.append(
            Block(
                bytes=block.bytes,
                category=site.category,
                op=site.op,
                source=site.source,
                birth_seconds=block.birth_seconds,
                death_seconds=block.death_seconds,
                module=site.module,
                phase=site.phase,
                node=site.node,
            )
        )
    return sorted(found, key=lambda each: -each.bytes)


def by_category(blocks: Iterable[Block]) -> tuple[Category, ...]:
    """One line per category that has any, in the order of CATEGORIES."""
    sizes = defaultdict[str, list[int]](list)
    for each in blocks:
        sizes[each.category].append(each.bytes)
    names = [name for name in CATEGORIES if name in sizes]
    return tuple(Category(name, len(sizes[name]), sum(sizes[name])) for name in names)


def by_source(blocks: Iterable[Block]) -> tuple[SourceLine, ...]:
    """One line per source line, the largest first; empty if no line is known."""
    members = defaultdict[str | None, list[Block]](list)
    for each in blocks:
        members[each.source].append(each)
    if not any(members):
        return ()
    lines = [
        SourceLine(
            source,
            _most(held, lambda each: each.op),
            _most(held, lambda each: each.category) or "other",
            len(held),
            sum(each.bytes for each in held),
        )
        for source, held in members.items()
    ]
    return tuple(sorted(lines, key=lambda each: (-each.bytes, each.source or "")))


def _most(blocks: Sequence[Block], name: Callable[[Block], str | None]) -> str | None:
    """The name under which most bytes are."""
    sizes = defaultdict[str | None, int](int)
    for each in blocks:
        sizes[name(each)] += each.bytes
    return max(sizes, key=lambda each: sizes[each])
