"""Shared regions: a plan for a step in which one compiled region is called several times.

All calls of one piece run in the same order, so what one of them keeps is held as often as there
are calls. For a few levels of what a call may keep between its forward and its backward, the calls
get the fastest order of their own that keeps no more, and the rest of the step is planned around
them; the fastest step that fits is taken. Its peak is that of the whole step, call by call.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fastsa.planner.graph import Graph, Op, Segment, Value
from fastsa.planner.options import Cancel, SearchOptions
from fastsa.planner.plan import Plan
from fastsa.planner.search import certify, search
from fastsa.planner.step import (
    EAGER_TARGET,
    Order,
    calls_of,
    ops_by_segment,
    region_names,
    region_order,
    segments_of,
    step_order,
)

LEVELS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.07, 0.0)
"""What a call may keep, as a share of what it keeps unplanned."""

_OPAQUE = "fastsa.call"
_UNPLANNED = SearchOptions(time_limit=0.0, iterations=0)
_LOCAL_SHARE = 0.4  # of the time: for the calls' own orders, the rest for the step around them


def shared_regions(graph: Graph) -> tuple[str, ...]:
    """The captured regions that the step calls more than once."""
    names = dict.fromkeys(name for name in region_names(graph) if name)
    return tuple(name for name in names if len(calls_of(graph, name)) > 1)


def calls_run_alike(graph: Graph, order: Plan | Order) -> bool:
    """Whether an order runs all calls of one captured region alike."""
    return all(
        len({region_order(graph, order, name, call=call) for call in calls_of(graph, name)}) == 1
        for name in shared_regions(graph)
    )


def plan_shared_regions(
    graph: Graph,
    budget_bytes: int,
    options: SearchOptions,
    *,
    warm_start: Plan | None = None,
    cancel: Cancel | None = None,
) -> Plan:
    """The fastest plan found in which calls are tied. Like `solve`; reports no progress.

    The time limit is for all of it; iterations are per search.
    """
    began = time.monotonic()
    first = search(graph, budget_bytes, _UNPLANNED)
    is_enough = first.peak_bytes <= budget_bytes and _is_base(graph, first)
    if first.status == "infeasible" or is_enough:
        return first
    names = shared_regions(graph)
    found: list[Plan] = []
    if warm_start is not None and warm_start.fits and calls_run_alike(graph, warm_start):
        found.append(certify(graph, _order(warm_start), budget_bytes, planner=warm_start.planner))
    fitting = 0
    for level in LEVELS:
        if (cancel is not None and cancel.is_set()) or fitting > 1:
            break
        local = msgspec.structs.replace(
            options.share(_LOCAL_SHARE / len(LEVELS) / len(names)), threads=1
        )
        orders = {name: _call_order(graph, name, level, local) for name in names}
        around = options.share((1 - _LOCAL_SHARE) / len(LEVELS))
        order = _around(graph, orders, budget_bytes, around, cancel)
        found.append(certify(graph, order, budget_bytes, planner=first.planner, time_limit=0.2))
        fitting += found[-1].fits
    best = min(found, key=_rank)
    wall = time.monotonic() - began
    made = msgspec.structs.replace(
        best.planner,
        wall_seconds=wall,
        seed=options.seed,
        threads=options.threads,
        iterations=0,
    )
    return msgspec.structs.replace(best, planner=made)


def _rank(found: Plan) -> tuple[bool, float]:
    return not found.fits, found.seconds if found.fits else found.peak_bytes


def _is_base(graph: Graph, plan: Plan) -> bool:
    return len(plan.sequence) == len(graph.ops) and calls_run_alike(graph, plan)


def _order(plan: Plan) -> Order:
    return Order(plan.sequence, plan.segment_starts)


# One call by itself ---------------------------------------------------------------------------


def _call_order(graph: Graph, name: str, level: float, options: SearchOptions) -> Order:
    """The fastest order found for a call that keeps no more than a share of what it does now."""
    local = _call_graph(graph, name)
    base = search(local, 1 << 62, _UNPLANNED)
    if level >= 1:
        return _order(base)
    room = base.peak_bytes
    kept = int(level * _kept_bytes(local, _order(base)))
    eager = next(op for op in local.ops if op.segment == 1)
    ops = list(local.ops)
    # Whatever is kept while the eager code runs leaves that much less for its workspace.
    ops[eager.id] = msgspec.structs.replace(eager, workspace_bytes=room - kept)
    limited = msgspec.structs.replace(local, ops=tuple(ops))
    made = search(limited, room, options)
    if made.status == "infeasible":
        made = search(limited, made.minimum_budget_bytes, options)
    return _order(made) if made.sequence else _order(base)


def _call_graph(graph: Graph, name: str) -> Graph:
    """The last call of a region as a graph of its own: forward, eager code, backward.

    What it is given is resident; what it gives to others weighs nothing here.
    """
    calls = calls_of(graph, name)
    ops = ops_by_segment(graph)
    forward, backward = segments_of(graph, calls[-1])
    members = ops[forward] + ops[backward]
    fixed = _fixed(graph, calls, ops)
    returned = _returned(graph, members)
    made = [value for op in members for value in graph.ops[op].outputs]
    number = {value: i for i, value in enumerate(made)}
    sizes = [0 if value in returned else graph.values[value].bytes for value in made]
    token = len(sizes)

    def local(i: int, op: int, segment: int) -> Op:
        known = graph.ops[op]
        inputs = [number[value] for value in known.inputs if value in number]
        return msgspec.structs.replace(
            known,
            id=i,
            segment=segment,
            inputs=tuple(inputs if segment == 0 else (*inputs, token)),
            outputs=tuple(number[value] for value in known.outputs),
            recomputable=(i if segment == 0 else i - 1) not in fixed,
        )

    count = len(ops[forward])
    eager = Op(count, EAGER_TARGET, 1, 0.0, (), (token,), recomputable=False)
    local_ops = [local(i, op, 0) for i, op in enumerate(ops[forward])]
    local_ops.append(eager)
    local_ops += [local(i, op, 2) for i, op in enumerate(ops[backward], count + 1)]
    return msgspec.structs.replace(
        graph,
        resident_bytes=0,
        segments=(Segment("forward", 0), Segment("eager", 1), Segment("backward", 0)),
        values=tuple(Value(i, size) for i, size in enumerate((*sizes, 0))),
        ops=tuple(local_ops),
        outputs=(),
        producer=None,
    )


def _fixed(graph: Graph, calls: Sequence[int], ops: Sequence[Sequence[int]]) -> set[int]:
    """Positions in a call of the ops that may not be repeated in one of the calls."""
    found: set[int] = set()
    for call in calls:
        members = [op for segment in segments_of(graph, call) for op in ops[segment]]
        found |= {i for i, op in enumerate(members) if not graph.ops[op].recomputable}
    return found


def _returned(graph: Graph, members: Iterable[int]) -> set[int]:
    """The values that ops make and others read, or that outlive the step."""
    inside = set(members)
    made = {value for op in inside for value in graph.ops[op].outputs}
    read = {value for op in graph.ops if op.id not in inside for value in op.inputs}
    return made & (read | set(graph.outputs))


def _kept_bytes(local: Graph, order: Order) -> int:
    """What a call keeps between its forward and its backward."""
    first = order.segment_starts[1]
    return _alive(local, order.sequence, range(len(local.values)))[first]


def _alive(graph: Graph, sequence: Sequence[int], values: Iterable[int]) -> list[int]:
    """Bytes of some values alive at each position: made before it, and read at or after it."""
    counted = set(values)
    change = [0] * (len(sequence) + 1)
    made_at: dict[int, int] = {}
    read_at: dict[int, int] = {}

    def close(value: int) -> None:
        change[made_at[value]] += graph.values[value].bytes
        change[read_at[value] + 1] -= graph.values[value].bytes

    for position, op in enumerate(sequence):
        for value in graph.ops[op].inputs:
            if value in made_at:
                read_at[value] = position
        for value in counted.intersection(graph.ops[op].outputs):
            if value in made_at:
                close(value)
            made_at[value] = read_at[value] = position
    for value in made_at:
        close(value)
    alive = 0
    return [alive := alive + each for each in change[:-1]]


# The step around the calls --------------------------------------------------------------------


def _around(
    graph: Graph,
    orders: Mapping[str, Order],
    budget_bytes: int,
    options: SearchOptions,
    cancel: Cancel | None,
) -> Order:
    """An order of the step in which the calls run in theirs, and the rest as is best for it."""
    fixed = step_order(graph, orders)
    reduced, stands_for = _reduced(graph, fixed, set(orders))
    if not any(op.recomputable for op in reduced.ops):
        return fixed
    made = search(reduced, budget_bytes, options, cancel=cancel)
    if made.status == "infeasible":
        one = msgspec.structs.replace(options, threads=1)
        made = search(reduced, made.minimum_budget_bytes, one)
    if not made.sequence:
        return fixed
    sequence: list[int] = []
    starts: list[int] = []
    at = dict.fromkeys(made.segment_starts)
    for position, op in enumerate(made.sequence):
        starts += [len(sequence)] * (position in at)
        sequence += stands_for[op]
    return Order(tuple(sequence), tuple(starts))


def _reduced(graph: Graph, order: Order, names: set[str]) -> tuple[Graph, list[Sequence[int]]]:
    """The step with one op for each segment of a shared region, and what each op stands for."""
    values: list[Value] = list(graph.values)
    ops: list[Op] = []
    stands_for: list[Sequence[int]] = []
    calls = [region for region, name in enumerate(region_names(graph)) if name in names]
    segment_ops = ops_by_segment(graph)
    starts = (*order.segment_starts, len(order.sequence))
    opaque = {}
    for call in calls:
        forward, backward = segments_of(graph, call)
        first = order.sequence[starts[forward] : starts[forward + 1]]
        last = order.sequence[starts[backward] : starts[backward + 1]]
        for segment, op in zip(
            (forward, backward), _opaque_ops(graph, first, last, values), strict=True
        ):
            opaque[segment] = (op, first if segment == forward else last)
    for segment in range(len(graph.segments)):
        if segment in opaque:
            op, sequence = opaque[segment]
            ops.append(msgspec.structs.replace(op, id=len(ops), segment=segment))
            stands_for.append(sequence)
            continue
        for each in segment_ops[segment]:
            ops.append(msgspec.structs.replace(graph.ops[each], id=len(ops)))
            stands_for.append((each,))
    reduced = msgspec.structs.replace(graph, values=tuple(values), ops=tuple(ops), producer=None)
    return reduced, stands_for


def _opaque_ops(
    graph: Graph, first: Sequence[int], last: Sequence[int], values: list[Value]
) -> tuple[Op, Op]:
    """A call's forward and backward as one op each; what it keeps is a value of its own."""
    members = {*first, *last}
    returned = _returned(graph, members)
    made = {value for op in members for value in graph.ops[op].outputs}
    sequence = (*first, *last)
    alive = _alive(graph, sequence, made - returned)
    busy = [each + graph.ops[op].workspace_bytes for each, op in zip(alive, sequence, strict=True)]
    kept = _crossing(graph, sequence, len(first), made - returned)
    values.append(Value(len(values), kept))
    token = values[-1].id

    def op(part: Sequence[int], peak: int, inputs: Iterable[int], outputs: Iterable[int]) -> Op:
        read = {value for each in part for value in graph.ops[each].inputs} - made
        own = {v for each in set(part) for v in graph.ops[each].outputs} & returned
        return Op(
            id=0,
            target=_OPAQUE,
            segment=0,
            seconds=sum(graph.ops[each].seconds for each in part),
            inputs=(*sorted(read), *inputs),
            outputs=(*sorted(own & set(outputs)), *(v for v in outputs if v == token)),
            recomputable=False,
            workspace_bytes=max(0, peak - kept),
        )

    made_first = {value for each in first for value in graph.ops[each].outputs}
    early = returned & made_first
    return (
        op(first, max(busy[: len(first)], default=0), (), [*early, token]),
        op(last, max(busy[len(first) :], default=0), (token,), returned - early),
    )


def _crossing(graph: Graph, sequence: Sequence[int], boundary: int, values: set[int]) -> int:
    """Bytes made before the boundary and read after it, before they are made again."""
    waiting = {
        value for op in sequence[:boundary] for value in graph.ops[op].outputs if value in values
    }
    kept = 0
    for op in sequence[boundary:]:
        crossing = waiting.intersection(graph.ops[op].inputs)
        kept += sum(graph.values[value].bytes for value in crossing)
        waiting -= crossing
        waiting -= set(graph.ops[op].outputs)
    return kept
