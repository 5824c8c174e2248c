"""Levels: how much of each category is alive over the time of a step, in few exact moments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from fastsa.records.timeline import CATEGORIES, Allocation, Phase, Timeline

MOST_MOMENTS = 1500
_SHORTEST_PHASE = 0.01  # of the step: shorter stretches are noise between two phases


class Moment(msgspec.Struct, frozen=True, gc=False):
    """What is alive just after an event; the first moment, event -1, is before all of them.

    `at` is in seconds from the start of the step, or the number of events so far where the
    timeline has no times. `bytes` are by category, in the order of CATEGORIES. `block` is the
    position of the block that the event was about; `born`: it was born, not released.
    """

    event: int
    at: float
    total: int
    bytes: tuple[int, ...]
    block: int | None
    born: bool


class Span(msgspec.Struct, frozen=True):
    """A phase, from and to a moment on the axis."""

    phase: Phase
    start: float
    end: float


class Levels(msgspec.Struct, frozen=True):
    """Moments in the order of events. Between two of them nothing higher than both was left out,
    so the highest of the step is among them.

    `timed`: the axis is seconds, up to `end`; else it is events.
    """

    timed: bool
    end: float
    moments: tuple[Moment, ...]
    phases: tuple[Span, ...]

    @property
    def peak(self) -> Moment:
        """The first of the highest."""
        return max(self.moments, key=lambda each: each.total)

    def columns(self, count: int) -> list[Moment]:
        """The highest moment in each of `count` equal stretches of the axis."""
        found, position = [], 0
        for column in range(1, count + 1):
            stop = self.end * column / count if column < count else math.inf
            highest = self.moments[position]
            while position + 1 < len(self.moments) and self.moments[position + 1].at < stop:
                position += 1
                highest = max(highest, self.moments[position], key=lambda each: each.total)
            found.append(highest)
        return found


def of(timeline: Timeline, most: int = MOST_MOMENTS) -> Levels:
    """The levels of a timeline in at most `most` moments (and the first).

    Where there are more events, the axis is cut into equal stretches. Of each its highest moment
    stays, and its last where that is later: what holds until the next event.
    """
    blocks = timeline.allocations
    timed = timeline.seconds > 0 and any(block.birth_seconds is not None for block in blocks)
    end = _end(timeline, timed)
    states = _states(timeline, timed)
    first = next(states)
    changes = sum((block.birth is not None) + (block.death is not None) for block in blocks)
    kept = states if changes <= most else _thinned(states, end, max(1, most // 2))
    moments = (first, *kept)
    return Levels(timed, end, moments, _phases(timeline, moments, end))


def _end(timeline: Timeline, timed: bool) -> float:
    if not timed:
        return float(timeline.events)
    last = max(max(b.birth_seconds or 0.0, b.death_seconds or 0.0) for b in timeline.allocations)
    return max(timeline.seconds, last)


def _states(timeline: Timeline, timed: bool) -> Iterator[Moment]:
    """The moment before the first event, and the one after each."""
    blocks = timeline.allocations
    category_of = [CATEGORIES.index(site.category) for site in timeline.sites]
    alive = [0] * len(CATEGORIES)
    for block in blocks:
        if block.birth is None:
            alive[category_of[block.site]] += block.bytes
    total, at = sum(alive), 0.0
    yield Moment(-1, at, total, tuple(alive), None, False)
    for event, changes in _events(blocks):
        about, born = changes[0]
        for position, is_birth in changes:
            block = blocks[position]
            size = block.bytes if is_birth else -block.bytes
            alive[category_of[block.site]] += size
            total += size
            if is_birth and not born:
                about, born = position, True
            # Threads may note their times a little out of order.
            at = max(at, (block.birth_seconds if is_birth else block.death_seconds) or 0.0)
        yield Moment(event, at if timed else float(event), total, tuple(alive), about, born)


def _events(blocks: Sequence[Allocation]) -> Iterator[tuple[int, list[tuple[int, bool]]]]:
    """By event: the positions of the blocks that it concerns, and whether they are born.

    Sorted as single integers: with a million blocks, tuples would take a gigabyte.
    """
    width = 2 * len(blocks)
    packed = [b.birth * width + 2 * i + 1 for i, b in enumerate(blocks) if b.birth is not None]
    packed += [b.death * width + 2 * i for i, b in enumerate(blocks) if b.death is not None]
    packed.sort()
    current, changes = -1, list[tuple[int, bool]]()
    for each in packed:
        event, change = divmod(each, width)
        if event != current:
            if changes:
                yield current, changes
            current, changes = event, []
        changes.append((change >> 1, bool(change & 1)))
    if changes:
        yield current, changes


def _thinned(moments: Iterable[Moment], end: float, stretches: int) -> Iterator[Moment]:
    current = -1
    highest = last = None
    for moment in moments:
        stretch = min(stretches - 1, int(moment.at / end * stretches)) if end else 0
        if highest is None or last is None or stretch != current:
            yield from _ends(highest, last)
            current, highest = stretch, moment
        elif moment.total > highest.total:
            highest = moment
        last = moment
    yield from _ends(highest, last)


def _ends(highest: Moment | None, last: Moment | None) -> Iterator[Moment]:
    if highest is not None:
        yield highest
    if last is not None and last is not highest:
        yield last


def _phases(timeline: Timeline, moments: Sequence[Moment], end: float) -> tuple[Span, ...]:
    """Stretches of births in one phase; a short one is the neighbour's before it."""
    spans: list[Span] = []
    for moment in moments:
        if moment.block is None or not moment.born:
            continue
        phase = timeline.site(timeline.allocations[moment.block]).phase
        if phase is None or (spans and spans[-1].phase == phase):
            continue
        if spans:
            spans[-1] = msgspec.structs.replace(spans[-1], end=moment.at)
        spans.append(Span(phase, moment.at if spans else 0.0, end))
    return tuple(_joined(spans, _SHORTEST_PHASE * end))


def _joined(spans: Sequence[Span], shortest: float) -> list[Span]:
    joined: list[Span] = []
    for span in spans:
        before = joined[-1] if joined else None
        if before and (span.end - span.start < shortest or before.phase == span.phase):
            joined[-1] = msgspec.structs.replace(before, end=span.end)
        else:
            joined.append(span)
    return joined
