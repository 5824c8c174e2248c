"""Step graph: the regions of one step and the eager code between them, joined into one `Graph`.

A forward or backward of a region is a segment of the graph. What runs between two of them is an
*eager section*, a segment of its own whose ops are made of what the allocator saw: each makes or
releases one storage, or needs some memory for a moment. A storage that one region returns and
another reads is one value. Recomputation stays inside its region.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic

import torch

from fastsa.capture.blocks import Blocks, StorageLife
from fastsa.capture.calls import R, RegionCall, segment_name
from fastsa.capture.joint_graph import (
    BACKWARD,
    FORWARD,
    Capture,
    eager_op,
    inputs_read,
    inputs_written,
)
from fastsa.instrumentation.allocators.events import Event, net
from fastsa.planner.graph import Graph, Op, Segment, Value
from fastsa.planner.step import EAGER_TARGET, REGIONS


class JoinedRegion:
    """A captured region as the step graph needs it: `graph` is the captured one, measured."""

    def __init__(self, capture: Capture, graph: Graph) -> None:
        self.capture = capture
        self.graph = graph
        self.captured_hash = capture.graph.hash()
        self.reads = inputs_read(capture)
        self.writes = inputs_written(capture.joint)
        self.eager = eager_op(graph)


def left_over(values: Sequence[int | None], accumulated: Collection[int]) -> tuple[int | None, ...]:
    """The gradients that outlive their backward: not those that went into a `.grad` of before."""
    return tuple(None if i in accumulated else value for i, value in enumerate(values))


@dataclass(frozen=True)
class RegionSegment(Generic[R]):
    """A forward or backward: whose, which of its region's segments, its events [first, last)."""

    call: RegionCall[R]
    segment: int
    first: int
    last: int


@dataclass
class _Draft:
    target: str
    segment: int
    seconds: float = 0.0
    workspace: int = 0
    recomputable: bool = False
    inputs: dict[int, None] = field(default_factory=dict)
    outputs: list[int] = field(default_factory=list)
    like: Op | None = None


def step_graph(
    regions: Mapping[R, JoinedRegion],
    calls: Sequence[RegionCall[R]],
    events: Sequence[Event],
    spans: Mapping[str, tuple[int, int]],
    *,
    name: str,
    resident_bytes: int,
) -> Graph | None:
    """Join the calls of one recorded step; None if no call had both its forward and its backward.

    `resident_bytes`: of the whole process when the recording began. Of rounds that repeat
    (micro-batches) only the last is in the graph. Its `resident_bytes` are those at the beginning
    of the first segment that is.
    """
    segments = _region_segments(regions, calls, spans)
    kept = _last_of_equal_rounds(regions, segments)
    if not kept:
        return None
    return _Joiner(regions, segments, kept, events, name, resident_bytes).join()


def _region_segments(
    regions: Mapping[R, JoinedRegion],
    calls: Sequence[RegionCall[R]],
    spans: Mapping[str, tuple[int, int]],
) -> list[RegionSegment[R]]:
    found = []
    for call in calls:
        if call.region not in regions or not call.whole or call.backward is None:
            continue
        for segment, number in ((FORWARD, call.forward), (BACKWARD, call.backward)):
            found.append((number, RegionSegment(call, segment, *spans[segment_name(number)])))
    return [segment for _, segment in sorted(found, key=lambda each: each[0])]


def _last_of_equal_rounds(
    regions: Mapping[R, JoinedRegion], segments: Sequence[RegionSegment[R]]
) -> list[RegionSegment[R]]:
    """A round, as a micro-batch, is what runs between two moments when no backward is due."""
    rounds: dict[tuple[tuple[str, int], ...], list[RegionSegment[R]]] = {}
    round_: list[RegionSegment[R]] = []
    due = 0
    for segment in segments:
        round_.append(segment)
        due += 1 if segment.segment == FORWARD else -1
        if not due:
            likeness = tuple((regions[s.call.region].captured_hash, s.segment) for s in round_)
            rounds.pop(likeness, None)  # the last of equals has the place of the last
            rounds[likeness] = round_
            round_ = []
    return [segment for each in rounds.values() for segment in each]


class _Joiner(Generic[R]):
    """Builds the graph; large because all of it is the state of one walk over the step."""

    def __init__(
        self,
        regions: Mapping[R, JoinedRegion],
        segments: Sequence[RegionSegment[R]],
        kept: Sequence[RegionSegment[R]],
        events: Sequence[Event],
        name: str,
        resident_bytes: int,
    ) -> None:
        self.regions = regions
        self.kept = kept
        self.events = events
        self.name = name
        self.resident_bytes = resident_bytes + net(list(events[: kept[0].first]))
        self.left_out = [s for s in segments if not any(s is k for k in kept)]
        self.blocks = Blocks(events)
        self.sizes: list[int] = []
        self.drafts: list[_Draft] = []
        self.segments: list[Segment] = []
        self.names: list[str] = []
        self.region_of: dict[int, int] = {}  # call -> region
        self.value_of: dict[StorageLife, int] = {}
        self.local: dict[int, dict[int, int]] = {}  # call -> value of its graph -> value
        self.inputs: dict[int, dict[int, int]] = {}  # call -> position of its input -> value
        self.uses: dict[int, set[int]] = {}  # value -> the calls it is an input or tangent of
        self.made_by: dict[int, int] = {}  # value -> the call that made it
        self.outputs: dict[int, None] = {}
        self.writers = self._writers()

    def _writers(self) -> dict[int, set[int]]:
        """By address of a storage that was there before: the calls that change its contents."""
        found: dict[int, set[int]] = {}
        for segment in self.kept:
            for position in self.regions[segment.call.region].writes:
                found.setdefault(segment.call.inputs[position], set()).add(id(segment.call))
        return found

    def join(self) -> Graph:
        self.begin()
        for position, segment in enumerate(self.kept):
            if position:
                self.eager_section(self.kept[position - 1].last, segment.first, position)
            self.region_segment(segment)
        self.end()
        first = self.regions[self.kept[0].call.region].graph
        return Graph(
            schema="fastsa.graph/1",
            name=self.name,
            device=first.device,
            resident_bytes=self.resident_bytes,
            segments=tuple(self.segments),
            values=tuple(Value(i, size) for i, size in enumerate(self.sizes)),
            ops=tuple(self.op(i, draft) for i, draft in enumerate(self.drafts)),
            outputs=tuple(self.outputs),
            producer={"torch": str(torch.__version__), REGIONS: self.names},
        )

    def op(self, i: int, draft: _Draft) -> Op:
        like = draft.like
        return Op(
            id=i,
            target=draft.target,
            segment=draft.segment,
            seconds=draft.seconds,
            inputs=tuple(draft.inputs),
            outputs=tuple(draft.outputs),
            recomputable=draft.recomputable,
            workspace_bytes=draft.workspace,
            name=like.name if like else None,
            source=like.source if like else None,
            module=like.module if like else None,
        )

    def new_value(self, size: int) -> int:
        self.sizes.append(size)
        return len(self.sizes) - 1

    # Regions --------------------------------------------------------------------------------

    def region_segment(self, segment: RegionSegment[R]) -> None:
        call, region = segment.call, self.regions[segment.call.region]
        one = id(call)
        if one not in self.region_of:
            self.region_of[one] = len(self.names)
            self.names.append(region.captured_hash)
            self.local[one] = {}
            self.inputs[one] = {}
        number = self.region_of[one]
        word = "forward" if segment.segment == FORWARD else "backward"
        self.segments.append(Segment(f"{word} {number}", number))
        if segment.segment == FORWARD:
            self.meet_inputs(call, segment.first)
        else:
            self.meet_tangents(call, region, segment.first)
        for op, reads in zip(region.graph.ops, region.reads, strict=True):
            if op.segment == segment.segment:
                self.region_op(call, region, op, reads)
        returned = call.outputs if segment.segment == FORWARD else call.gradients
        values = region.capture.output_values
        if segment.segment == BACKWARD:
            values = left_over(region.capture.gradient_values, call.accumulated)
        self.meet_returned(call, returned, values, segment.last)

    def meet_inputs(self, call: RegionCall[R], moment: int) -> None:
        for position, address in enumerate(call.inputs):
            value = self.known(address, moment)
            if value is not None:
                self.inputs[id(call)][position] = value
                self.uses.setdefault(value, set()).add(id(call))

    def meet_tangents(self, call: RegionCall[R], region: JoinedRegion, moment: int) -> None:
        for local, address in zip(region.eager.outputs, call.tangents, strict=False):
            value = self.known(address, moment)
            if value is not None:
                self.local[id(call)][local] = value
                self.uses.setdefault(value, set()).add(id(call))

    def known(self, address: int, moment: int) -> int | None:
        block = self.blocks.at(address, moment)
        return None if block is None else self.value_of.get(block)

    def region_op(
        self, call: RegionCall[R], region: JoinedRegion, op: Op, reads: tuple[int, ...]
    ) -> None:
        local, inputs = self.local[id(call)], self.inputs[id(call)]
        draft = _Draft(op.target, len(self.segments) - 1, op.seconds, op.workspace_bytes)
        draft.like = op
        draft.recomputable = op.recomputable and not any(
            self.writers.get(call.inputs[position], set()) - {id(call)} for position in reads
        )
        read = [local[value] for value in op.inputs if value in local]
        read += [inputs[position] for position in reads if position in inputs]
        draft.inputs = dict.fromkeys(read)
        for value in op.outputs:
            local[value] = self.new_value(region.graph.values[value].bytes)
            self.made_by[local[value]] = id(call)
            draft.outputs.append(local[value])
        self.drafts.append(draft)

    def meet_returned(
        self,
        call: RegionCall[R],
        addresses: Sequence[int],
        values: Sequence[int | None],
        moment: int,
    ) -> None:
        for address, local in zip(addresses, values, strict=False):
            if local is None:
                continue
            value = self.local[id(call)].get(local)
            block = self.blocks.at(address, moment)
            if value is None:
                continue
            if block is None:
                self.outputs[value] = None  # nobody knows how long it lives
            elif block not in self.value_of:
                self.value_of[block] = value

    def begin(self) -> None:
        """What is there when the first segment begins and does not outlive the step."""
        first, last = self.kept[0].first, self.kept[-1].last
        passing = [b for m, b in self.blocks.deaths.items() if b.birth < first <= m < last]
        if not passing:
            return
        self.segments.append(Segment("eager", len(self.names)))
        self.names.append("")
        self.value_of |= {block: self.new_value(block.bytes) for block in passing}
        made = [self.value_of[block] for block in passing]
        self.drafts.append(_Draft(EAGER_TARGET, 0, outputs=made))
        self.resident_bytes -= sum(block.bytes for block in passing)

    # Eager sections -------------------------------------------------------------------------

    def eager_section(self, first: int, last: int, position: int) -> None:
        """The ops of an eager section, one for each storage that outlives it or dies in it."""
        self.segments.append(Segment("eager", len(self.names)))
        self.names.append("")
        here = _EagerSection(self, last)
        self.released_after(self.kept[position - 1], here)
        for number in range(first, last):
            counts = not any(s.first <= number < s.last for s in self.left_out)
            here.event(number, counts)
        here.close()

    def released_after(self, segment: RegionSegment[R], here: _EagerSection[R]) -> None:
        """What the caller of a forward holds until it has run, and what died in a segment."""
        if segment.segment == FORWARD:
            here.read(self.inputs[id(segment.call)].values())
        here.read(self.died_unread(segment))

    def died_unread(self, segment: RegionSegment[R]) -> list[int]:
        """The values that ended in a segment that neither made them nor was given them."""
        one = id(segment.call)
        found = []
        for number in range(segment.first, segment.last):
            block = self.blocks.deaths.get(number)
            value = None if block is None else self.value_of.get(block)
            if value is None or one in self.uses.get(value, ()) or self.made_by.get(value) == one:
                continue
            found.append(value)
        return found

    def end(self) -> None:
        """What outlives the last segment, or ends in it without having to do with it."""
        last = self.kept[-1]
        for block, value in self.value_of.items():
            if block.death is None or block.death >= last.last:
                self.outputs[value] = None
        self.outputs |= dict.fromkeys(self.died_unread(last))


class _EagerSection(Generic[R]):
    """Writes the ops of one eager section, in the order of its events."""

    def __init__(self, joiner: _Joiner[R], last: int) -> None:
        self.joiner = joiner
        self.last = last
        self.alive: set[StorageLife] = set()  # what is made here and will not outlive it
        self.passing = 0  # bytes of them
        self.most = 0  # the most of them since the last op
        self.before: int | None = None  # the value that keeps the ops in order
        self.pending: dict[int, None] = {}

    def read(self, values: object) -> None:
        self.pending |= dict.fromkeys(values)  # type: ignore[call-overload]

    def event(self, number: int, counts: bool) -> None:
        joiner, blocks = self.joiner, self.joiner.blocks
        born, died = blocks.births.get(number), blocks.deaths.get(number)
        if born is not None and (born.death is None or born.death >= self.last):
            self.flush()
            value = joiner.value_of[born] = joiner.new_value(born.bytes)
            self.op(made=[value])
        elif died is not None and died in joiner.value_of:
            self.flush()
            self.read([joiner.value_of[died]])
            self.op()
        elif counts and born is not None:
            self.alive.add(born)
            self.passing += born.bytes
            self.most = max(self.most, self.passing)
        elif died in self.alive:
            self.alive.remove(died)
            self.passing -= died.bytes

    def flush(self) -> None:
        """Account for what was needed for a moment."""
        if self.most > self.passing or self.pending:
            self.op(workspace=self.most)

    def op(self, made: Sequence[int] = (), workspace: int | None = None) -> None:
        joiner = self.joiner
        draft = _Draft(EAGER_TARGET, len(joiner.segments) - 1)
        draft.workspace = self.passing if workspace is None else workspace
        draft.inputs, self.pending = self.pending, {}
        if self.before is not None:
            draft.inputs[self.before] = None
        self.before = joiner.new_value(0)
        draft.outputs = [*made, self.before]
        joiner.drafts.append(draft)
        self.most = self.passing

    def close(self) -> None:
        if self.most or self.pending or self.before is None:
            self.op(workspace=self.most)
