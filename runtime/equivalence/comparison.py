"""Comparison: where two traces of the same script first differ. Knows nothing of torch."""

from __future__ import annotations

from collections import defaultdict
from itertools import zip_longest

from fastsa.records.verdict import Against, Difference
from fastsa.runtime.equivalence.trace import OpPlace, StepsTrace

UNSEEN = "none that the script sees"


def differ(one: StepsTrace, other: StepsTrace) -> bool:
    """Whether any tensor of any step differs, or was seen in one trace only."""
    return one.steps != other.steps


def difference(against: Against, reference: StepsTrace, planned: StepsTrace) -> Difference | None:
    """The first tensor, in the order of the reference, in which `planned` differs.

    With the first op that differs in the same step or before, if both traces have ops.
    """
    for step, (wanted, seen) in enumerate(zip_longest(reference.steps, planned.steps)):
        for one, other in zip_longest(wanted or (), seen or ()):
            if one != other:
                name = (one or other).name
                found = Difference(against, step, name if one and other else f"{name} (missing)")
                return _with_op(found, reference, planned)
    # An op may differ and nothing of it come out.
    hidden = _with_op(Difference(against, len(reference.steps), UNSEEN), reference, planned)
    return hidden if hidden.op else None


def _with_op(found: Difference, reference: StepsTrace, planned: StepsTrace) -> Difference:
    first = first_op(reference, planned)
    if first is None or first[0] > found.step:
        return found
    step, place, run = first
    return Difference(
        found.against, step, found.tensor, place.name, place.target, place.module, place.source, run
    )


def first_op(reference: StepsTrace, planned: StepsTrace) -> tuple[int, OpPlace, int | None] | None:
    """The step, the op and its run (from 1) that first differs, in the order of the reference.

    A plan may run an op several times: every run must give what it gave without a plan. In a step
    with several forwards (gradient accumulation) it must give what one of them gave, and which
    run differs is not known.
    """
    wanted, seen = _by_op(reference), _by_op(planned)
    places = {(place.region, place.name): place for place in reference.places}
    for (step, region, name), digests in wanted.items():
        for position, digest in enumerate(seen.get((step, region, name), ())):
            if digest not in digests:
                return step, places[region, name], position + 1 if len(digests) == 1 else None
    return None


def compared_ops(reference: StepsTrace, planned: StepsTrace) -> int:
    """How many runs of ops in `planned` can be held against the reference."""
    wanted = _by_op(reference)
    return sum(len(runs) for op, runs in _by_op(planned).items() if op in wanted)


def _by_op(trace: StepsTrace) -> dict[tuple[int, int, str], list[str]]:
    found = defaultdict[tuple[int, int, str], list[str]](list)
    for run in trace.ops:
        place = trace.places[run.place]
        found[run.step, place.region, place.name].append(run.digest)
    return dict(found)
