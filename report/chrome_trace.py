"""A profile as Chrome trace JSON, for ui.perfetto.dev and chrome://tracing.

Source: the Trace Event Format. Times are microseconds from the start of the step. A million
allocations are too many for a viewer: the counters are thinned so that every stretch keeps its
highest moment, and only the largest allocations are bars of their own.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from fastsa.records.profile import MeasuredRegion, Profile
from fastsa.records.timeline import CATEGORIES, Allocation, Timeline
from fastsa.report.events import in_order
from fastsa.version import __version__

SAMPLES = 5_000
BARS = 1_000

MEMORY, BLOCKS, PLAN = 1, 2, 3  # the processes, as the viewers call a group of tracks

Event = dict[str, Any]


def encode(profile: Profile) -> bytes:
    """The trace as a JSON document."""
    timeline = profile.timeline
    events = [
        *_named(MEMORY, "Memory of the process, measured"),
        *_counters(timeline),
        *_phases(timeline),
        *_named(BLOCKS, f"The {BARS} largest allocations of the step, measured"),
        *_bars(timeline),
    ]
    if profile.regions:
        events += _named(PLAN, "Captured ops, each measured alone, end to end: not when they ran")
        events += [each for i, region in enumerate(profile.regions) for each in _ops(i, region)]
    return msgspec.json.encode(
        {"traceEvents": events, "displayTimeUnit": "ms", "otherData": _about(profile)}
    )


def _about(profile: Profile) -> dict[str, str]:
    """What the viewers show as the trace's metadata; strings only, as the format asks for."""
    facts = {
        "producer": f"fastsa {__version__}",
        "script": " ".join((profile.script, *profile.arguments)),
        "model": profile.model,
        "device": profile.device,
        "created": profile.created,
        "peak_bytes": str(profile.peak_bytes),
        "resident_bytes": str(profile.resident_bytes),
    }
    return facts | ({"missing": "; ".join(profile.missing)} if profile.missing else {})


def _named(process: int, name: str) -> list[Event]:
    return [
        _metadata(process, 0, "process_name", {"name": name}),
        _metadata(process, 0, "process_sort_index", {"sort_index": process}),
    ]


def _metadata(process: int, thread: int, name: str, arguments: Event) -> Event:
    return {"ph": "M", "pid": process, "tid": thread, "ts": 0, "name": name, "args": arguments}


def _microseconds(event: int | None, seconds: float | None) -> float:
    """Where only the order is known, one for each event."""
    return float(event or 0) if seconds is None else seconds * 1e6


# The bytes of each category


def _counters(timeline: Timeline) -> Iterator[Event]:
    """Perfetto draws each category by itself, so the sum is a counter, too."""
    for time, held in _thinned(timeline):
        yield _counter("live bytes", time, {"all": sum(held.values())})
        yield _counter("live bytes by category", time, dict(held))


def _counter(name: str, time: float, values: dict[str, int]) -> Event:
    return {"ph": "C", "pid": MEMORY, "tid": 0, "ts": time, "name": name, "args": values}


def _thinned(timeline: Timeline) -> Iterator[tuple[float, dict[str, int]]]:
    """(time, bytes by category): the start, of every stretch of events the highest, the end."""
    held = _resident(timeline)
    total = highest = sum(held.values())
    best = 0.0, dict(held)
    stretch = end = max(1, timeline.events // SAMPLES)
    for event, born, index in in_order(timeline):
        block = timeline.allocations[index]
        if event >= end:
            yield best
            highest, end = -1, event - event % stretch + stretch
        change = block.bytes if born else -block.bytes
        held[timeline.site(block).category] += change
        total += change
        if total > highest:
            highest, best = total, (_time(block, born), dict(held))
    yield best
    yield _end(timeline), held


def _resident(timeline: Timeline) -> dict[str, int]:
    """The bytes of each category there is when the step begins."""
    used = {site.category for site in timeline.sites}
    held: dict[str, int] = {name: 0 for name in CATEGORIES if name in used}
    for block in timeline.allocations:
        if block.birth is None:
            held[timeline.site(block).category] += block.bytes
    return held


def _time(block: Allocation, born: bool) -> float:
    if born:
        return _microseconds(block.birth, block.birth_seconds)
    return _microseconds(block.death, block.death_seconds)


def _end(timeline: Timeline) -> float:
    return _microseconds(timeline.events, timeline.seconds or None)


# The phases of the step


def _phases(timeline: Timeline) -> Iterator[Event]:
    """One bar for each stretch of allocations of the same phase."""
    yield _metadata(MEMORY, 1, "thread_name", {"name": "phase, by its allocations"})
    born = (block for block in timeline.allocations if block.birth is not None)
    phase, start, last = None, 0.0, 0.0
    for block in sorted(born, key=lambda block: block.birth or 0):
        time = _time(block, born=True)
        now = timeline.site(block).phase
        if now != phase:
            if phase:
                yield _bar(MEMORY, 1, phase, start, time)
            phase, start = now, time
        last = time
    if phase:
        yield _bar(MEMORY, 1, phase, start, max(last, _end(timeline)))


def _bar(
    process: int, lane: int, name: str, start: float, end: float, **arguments: object
) -> Event:
    return {
        "ph": "X",
        "pid": process,
        "tid": lane,
        "ts": start,
        "dur": max(0.0, end - start),
        "name": name,
        "args": {name: value for name, value in arguments.items() if value is not None},
    }


# The largest allocations


def _bars(timeline: Timeline) -> Iterator[Event]:
    """Bars in lanes, so that none overlaps another: viewers nest what overlaps."""
    lanes: list[tuple[float, int]] = []  # (free from, lane)
    for block in _largest(timeline):
        start = _time(block, born=True)
        end = _end(timeline) if block.death is None else _time(block, born=False)
        if lanes and lanes[0][0] <= start:
            _, lane = heapq.heappop(lanes)
        else:
            lane = len(lanes) + 1
            yield _metadata(BLOCKS, lane, "thread_name", {"name": f"blocks {lane}"})
        heapq.heappush(lanes, (max(start, end), lane))
        site = timeline.site(block)
        arguments = msgspec.structs.asdict(site) | {"bytes": block.bytes}
        name = f"{site.category} {site.op or site.source or ''}".strip()
        yield _bar(BLOCKS, lane, name, start, end, **arguments) | {"cat": site.category}


def _largest(timeline: Timeline) -> Iterable[Allocation]:
    born = (block for block in timeline.allocations if block.birth is not None)
    largest = heapq.nlargest(BARS, born, key=lambda block: block.bytes)
    return sorted(largest, key=lambda block: block.birth or 0)


# The graph of each region


def _ops(position: int, region: MeasuredRegion) -> Iterator[Event]:
    lane = position + 1
    yield _metadata(PLAN, lane, "thread_name", {"name": f"region {position}"})
    time = 0.0
    for op in region.graph.ops:
        end = time + op.seconds * 1e6
        yield _bar(
            PLAN,
            lane,
            op.target,
            time,
            end,
            segment=region.graph.segments[op.segment].name,
            module=op.module,
            source=op.source,
            workspace_bytes=op.workspace_bytes,
            output_bytes=sum(region.graph.values[value].bytes for value in op.outputs),
        )
        time = end
