"""Recorded: what a recording has seen, in the terms of a profile."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from fastsa.instrumentation.storages import Storage
from fastsa.planner.budget import format_bytes
from fastsa.profiler.autograd import Held
from fastsa.profiler.timeline_builder import Label, Labels, build
from fastsa.profiler.trace import NodeRun, Trace, TracedBlock
from fastsa.records.profile import NodeTime, OpTime, Saved
from fastsa.records.timeline import Timeline


@dataclass(frozen=True)
class StepObservations:
    """What was seen while the program ran, beside the trace. Names are those of the trace's marks.

    `alive` are the storages at the beginning, `start_bytes` all that was allocated then, and
    `library_bytes` what of it is another library's;
    `labels` say what blocks are for, `backwards` what autograd held when each began.
    """

    alive: Mapping[int, Storage]
    start_bytes: int
    library_bytes: int
    labels: Sequence[tuple[str, Mapping[int, Label]]]
    backwards: Sequence[tuple[str, Mapping[int, Held]]]


@dataclass(frozen=True)
class Recorded:
    """What happened in a recording. Bytes are the process's on the device; all is measured.

    `resident_bytes` is the most that was alive when a forward began, `allocator_peak_bytes` the
    peak by the allocator's own count. `missing` says what is not there, and why.
    """

    timeline: Timeline
    saved: tuple[Saved, ...]
    ops: tuple[OpTime, ...]
    nodes: tuple[NodeTime, ...]
    resident_bytes: int
    allocator_peak_bytes: int | None
    missing: tuple[str, ...]


def recorded(trace: Trace, seen: StepObservations, more: Sequence[TracedBlock] = ()) -> Recorded:
    """Put together a trace and what was seen; `more` are blocks of other libraries."""
    start = trace.times["begin"]
    blocks = _stretch(trace, more, start)
    clock = [block.nanoseconds for block in blocks]
    end = trace.times.get("end", clock[-1] if clock else start)
    labels = [
        Labels(bisect_left(clock, trace.times[name]), known)
        for name, known in seen.labels
        if name in trace.times
    ]
    timeline = build(blocks, start, end, seen.alive, labels, seen.start_bytes, seen.library_bytes)
    peak = _allocator_peak(blocks, seen)
    return Recorded(
        timeline=timeline,
        saved=_saved(trace, seen, start),
        ops=_op_times(trace),
        nodes=_node_times(trace.nodes),
        resident_bytes=_resident(timeline, seen, clock, trace),
        allocator_peak_bytes=peak,
        missing=_unseen(timeline, peak, is_shared=bool(more) or seen.library_bytes > 0),
    )


def _resident(
    timeline: Timeline, seen: StepObservations, clock: Sequence[int], trace: Trace
) -> int:
    """The most that is alive when a forward begins for which nothing is kept any more.

    Under gradient accumulation that is a later one: it finds gradients alive.
    """
    most, is_free = timeline.resident_bytes, False
    for name, _ in seen.labels:
        if name.startswith("forward") and is_free and name in trace.times:
            before = bisect_left(clock, trace.times[name]) - 1
            most = max(most, sum(each.bytes for each in timeline.alive_at(before)))
        if not name.startswith("optimizer"):
            is_free = name.startswith("backward")
    return most


def _stretch(trace: Trace, more: Sequence[TracedBlock], start: int) -> list[TracedBlock]:
    end = trace.times.get("end")
    blocks = sorted([*trace.blocks, *more], key=lambda block: block.nanoseconds)
    return [b for b in blocks if start <= b.nanoseconds and (end is None or b.nanoseconds < end)]


def _allocator_peak(blocks: Sequence[TracedBlock], seen: StepObservations) -> int:
    """The peak by the totals that come with the allocator's own events.

    The CPU allocator counts from the moment somebody first listens, and leaves out releases of
    blocks it does not know: those are told by the end of their tensors and come without a total.
    Of a block that it knows from an earlier recording, or believes to know, both come.
    """
    first: int | None = None
    peak = before = seen.start_bytes - seen.library_bytes
    released, counted = 0, set[int]()
    for block in blocks:
        if block.total is None:
            if not block.bytes and block.address in seen.alive:
                counted.add(block.address)
                released += seen.alive[block.address].bytes
            continue
        if first is None:
            first = block.total - block.bytes
        # Where a new block is made, the old one was unknown. The size that comes with a release may
        # be that of a block that was there once and went while nobody listened.
        if block.bytes < 0 and block.address in counted:
            released += block.bytes
        counted.discard(block.address)
        peak = max(peak, before + block.total - first - released)
    return peak


def _unseen(timeline: Timeline, peak: int, *, is_shared: bool) -> tuple[str, ...]:
    difference = peak - timeline.peak_bytes
    if is_shared or not difference:
        return ()
    return (
        f"by the allocator's own count the peak is {format_bytes(abs(difference))} "
        f"{'higher' if difference > 0 else 'lower'}: what threads of the script's own allocate "
        "is not seen",
    )


def _saved(trace: Trace, seen: StepObservations, start: int) -> tuple[Saved, ...]:
    """Of several backwards in a step, what the one held that had the most to hold."""
    if not seen.backwards:
        return ()

    def held_bytes(backward: tuple[str, Mapping[int, Held]]) -> int:
        return sum(held.saved.bytes for held in backward[1].values())

    name, held = max(seen.backwards, key=held_bytes)
    at = trace.times.get(name, start)
    made = {b.address: b.nanoseconds for b in trace.blocks if b.bytes > 0 and b.nanoseconds <= at}
    used = {run.sequence: run.start for run in reversed(trace.nodes) if run.start >= at}
    found = [
        _placed(
            each, trace, _since(made.get(address), start), _since(used.get(each.sequence), start)
        )
        for address, each in held.items()
    ]
    return tuple(sorted(found, key=lambda saved: -saved.bytes))


def _placed(held: Held, trace: Trace, made: float | None, used: float | None) -> Saved:
    op, (module, source) = trace.forwards.get(held.sequence, (None, (None, None)))
    return msgspec.structs.replace(
        held.saved, op=op, module=module, source=source, made_seconds=made, used_seconds=used
    )


def _since(at: int | None, start: int) -> float | None:
    return None if at is None or at < start else (at - start) / 1e9


def _op_times(trace: Trace) -> tuple[OpTime, ...]:
    times = [
        OpTime(op, phase, module, source, calls, max(0, spent) / 1e9)
        for (op, phase, (module, source)), (calls, spent) in trace.seconds.items()
    ]
    return tuple(sorted(times, key=lambda time: -time.seconds))


def _node_times(runs: Sequence[NodeRun]) -> tuple[NodeTime, ...]:
    times = defaultdict[tuple[str, str | None], list[int]](lambda: [0, 0])
    for run in runs:
        entry = times[run.name, run.module]
        entry[0] += 1
        entry[1] += run.end - run.start
    found = [NodeTime(node, module, *_time(entry)) for (node, module), entry in times.items()]
    return tuple(sorted(found, key=lambda time: -time.seconds))


def _time(entry: list[int]) -> tuple[int, float]:
    return entry[0], entry[1] / 1e9
