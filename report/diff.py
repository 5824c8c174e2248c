"""Two profiles side by side, for people and, with stable keys, for programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from fastsa.records.profile import Profile
from fastsa.records.timeline import CATEGORIES
from fastsa.report import text
from fastsa.report.layout import PageFacts, Paragraph, Part, Table

TOP = 10
UNKNOWN = "(none known)"

OpSource = Literal["recorded step", "ops measured alone"]


class Side(msgspec.Struct, frozen=True):
    """One of the two profiles. `missing` says what it lacks, and why."""

    id: str
    created: str
    script: str
    arguments: tuple[str, ...]
    model: str
    parameters: int
    shape: str
    device: str
    missing: tuple[str, ...]
    ended: str | None


class Change(msgspec.Struct, frozen=True):
    """An amount on both sides, and what the second has more; None where it is not known."""

    name: str
    a: float | None
    b: float | None
    difference: float | None


class DiffReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything is measured; bytes are the whole process's on the device.

    `totals` are `peak_bytes`, `resident_bytes`, `kept_bytes`, `step_seconds`. Lists begin with the
    largest difference. `op_seconds_of` says what the seconds of ops are of; None: one side has
    none, and there are no `ops`.
    """

    schema: Literal["fastsa.diff/1"] = "fastsa.diff/1"
    a: Side
    b: Side
    totals: tuple[Change, ...]
    peak_by_category: tuple[Change, ...]
    peak_by_source: tuple[Change, ...]
    kept_by_module: tuple[Change, ...]
    op_seconds_of: OpSource | None
    ops: tuple[Change, ...]


def summarize(a_id: str, a: Profile, b_id: str, b: Profile) -> DiffReport:
    """How profile `b` differs from `a`."""
    source, *seconds = _op_seconds(a, b)
    return DiffReport(
        a=_side(a_id, a),
        b=_side(b_id, b),
        totals=(
            _change("peak_bytes", a.peak_bytes, b.peak_bytes),
            _change("resident_bytes", a.resident_bytes, b.resident_bytes),
            _change("kept_bytes", _kept_bytes(a), _kept_bytes(b)),
            _change("step_seconds", a.step_seconds, b.step_seconds),
        ),
        peak_by_category=_by_category(a, b),
        peak_by_source=_changes(_by_source(a), _by_source(b)),
        kept_by_module=_changes(_kept(a), _kept(b)),
        op_seconds_of=source,
        ops=_changes(*seconds),
    )


def _side(profile_id: str, profile: Profile) -> Side:
    return Side(
        id=profile_id,
        created=profile.created,
        script=profile.script,
        arguments=profile.arguments,
        model=profile.model,
        parameters=profile.parameters,
        shape=profile.shape,
        device=profile.device,
        missing=profile.missing,
        ended=profile.ended,
    )


def _change(name: str, a: float | None, b: float | None) -> Change:
    return Change(name, a, b, None if a is None or b is None else b - a)


def _changes(a: Mapping[str, float], b: Mapping[str, float]) -> tuple[Change, ...]:
    """Largest difference first; what one side does not have is 0 there."""
    changes = [_change(name, a.get(name, 0), b.get(name, 0)) for name in a.keys() | b.keys()]
    return tuple(sorted(changes, key=lambda each: (-abs(each.difference or 0), each.name)))


def _sums(pairs: Iterable[tuple[str | None, float]]) -> dict[str, float]:
    sums = defaultdict[str, float](int)
    for name, amount in pairs:
        sums[UNKNOWN if name is None else name] += amount
    return dict(sums)


def _by_category(a: Profile, b: Profile) -> tuple[Change, ...]:
    sides = [_at_peak(each, lambda p, site: p.timeline.sites[site].category) for each in (a, b)]
    order = [str(name) for name in CATEGORIES]
    return tuple(sorted(_changes(*sides), key=lambda each: order.index(each.name)))


def _by_source(profile: Profile) -> dict[str, float]:
    return _at_peak(profile, lambda p, site: p.timeline.sites[site].source)


def _at_peak(profile: Profile, name: Callable[[Profile, int], str | None]) -> dict[str, float]:
    alive = profile.timeline.alive_at(profile.timeline.peak_event)
    return _sums((name(profile, block.site), block.bytes) for block in alive)


def _kept(profile: Profile) -> dict[str, float]:
    kept = (each for each in profile.saved if not each.parameter)
    return _sums((each.module, each.bytes) for each in kept)


def _kept_bytes(profile: Profile) -> float | None:
    """Nothing kept is nothing known in a profile that something is missing of."""
    return sum(_kept(profile).values()) if profile.saved or not profile.missing else None


def _op_seconds(
    a: Profile, b: Profile
) -> tuple[OpSource | None, dict[str, float], dict[str, float]]:
    """Seconds by op, of the recorded steps or else of the graphs: whatever both have."""
    if a.ops and b.ops:
        sides = [_sums((op.op, op.seconds) for op in profile.ops) for profile in (a, b)]
        return "recorded step", sides[0], sides[1]
    if a.regions and b.regions:
        sides = [
            _sums((op.target, op.seconds) for region in profile.regions for op in region.graph.ops)
            for profile in (a, b)
        ]
        return "ops measured alone", sides[0], sides[1]
    return None, {}, {}


# For people


def render(report: DiffReport) -> Iterator[Part]:
    """The report for people."""
    yield _profiles(report)
    yield from _warnings(report)
    yield _totals(report)
    yield _table("At the peak, by category, measured", "category", report.peak_by_category, _bytes)
    yield from _top(
        "At the peak, by source line, measured", "source", report.peak_by_source, _bytes
    )
    title = "Kept for the backward, by module, measured"
    yield from _top(title, "module", report.kept_by_module, _bytes)
    title = f"Time by op, {report.op_seconds_of}, measured"
    yield from _top(title, "op", report.ops, _seconds)


def _profiles(report: DiffReport) -> PageFacts:
    return PageFacts(
        f"From A, {text.of_id(report.a.id)}, to B, {text.of_id(report.b.id)}",
        [("A", _facts(report.a)), ("B", _facts(report.b))],
    )


def _facts(side: Side) -> str:
    script = " ".join((side.script, *side.arguments))
    return f"{script}: {side.model} [{side.shape}] on {side.device}"


def _warnings(report: DiffReport) -> Iterator[Paragraph]:
    if report.a.device != report.b.device:
        yield Paragraph(
            "The devices differ: seconds say little, and sizes may be rounded otherwise."
        )
    for name, side in (("A", report.a), ("B", report.b)):
        if side.ended:
            yield Paragraph(f"{name} broke off: {side.ended}.")
        for sentence in side.missing:
            yield Paragraph(f"{name}: {sentence}.")


def _totals(report: DiffReport) -> Table:
    names = {
        "peak_bytes": ("peak, whole process", _bytes),
        "resident_bytes": ("resident when a step begins", _bytes),
        "kept_bytes": ("kept for the backward", _bytes),
        "step_seconds": ("step time", _seconds),
    }
    rows = [(names[each.name][0], *_cells(each, names[each.name][1])) for each in report.totals]
    return Table("Measured", ["", "A>", "B>", "difference>", "%>"], rows)


def _top(
    title: str, name: str, changes: tuple[Change, ...], show: Callable[[float], str]
) -> Iterator[Table]:
    """The largest differences; nothing if there are none, or nobody knows what they are of."""
    differing = [each for each in changes if each.difference]
    if any(each.name != UNKNOWN for each in differing):
        more = len(differing) - TOP
        title += f", {TOP} largest differences of {len(differing)}" if more > 0 else ""
        yield _table(title, name, differing[:TOP], show)


def _table(title: str, name: str, changes: Iterable[Change], show: Callable[[float], str]) -> Table:
    rows = [(_name(name, each.name), *_cells(each, show)) for each in changes]
    return Table(title, [name, "A>", "B>", "difference>", "%>"], rows)


def _name(kind: str, name: str) -> str:
    return text.of_source(name) if kind == "source" else name


def _cells(change: Change, show: Callable[[float], str]) -> tuple[str | None, ...]:
    """Both amounts, the difference with its sign, and that in percent of A."""
    a, b = (None if each is None else show(each) for each in (change.a, change.b))
    if change.a is None or change.b is None or change.difference is None:
        return a or "not measured", b or "not measured", None, None
    if not change.difference:
        return a, b, "0", "0.0%"
    sign = "+" if change.difference > 0 else ""
    percent = text.of_difference(change.b, change.a) or "new"
    return a, b, f"{sign}{show(change.difference)}", percent


def _bytes(amount: float) -> str:
    return text.of_bytes(int(amount))


def _seconds(amount: float) -> str:
    return text.of_seconds(amount)
