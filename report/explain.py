"""An explanation of a peak, a price and a minimum, for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from fastsa.planner.explain.explanation import Explanation, Memory
from fastsa.planner.explain.groups import NOWHERE, Group, Share, grouped, kind
from fastsa.planner.explain.minimum import MinimumPart
from fastsa.planner.explain.other_budgets import GIB, OtherBudget
from fastsa.planner.explain.peak import LiveValue, Peak
from fastsa.planner.explain.recomputed import Chain
from fastsa.report import explain_text as sentences
from fastsa.report import text
from fastsa.report.layout import CurveFigure, Paragraph, Part, Table

TOP = 5
CURVE_POINTS = 64
LONG_CHAIN = 5

Row = tuple[str | None, ...]


def render(given: Explanation, *, top: int = TOP, note: str | None = None) -> Iterator[Part]:
    """The answer in sentences, then tables of `top` rows and one for the rest.

    `note`: what is known of the whole process, as a sentence.
    """
    yield from _summary(given, note)
    yield from _peak(given, top)
    yield from _recomputed(given, top)
    yield from _kept(given, top)
    yield from _minimum(given, top)
    if given.other_budgets:
        yield _other_budgets(given)


def _summary(given: Explanation, note: str | None) -> Iterator[Part]:
    status = sentences.of_status(given)
    if status:
        yield Paragraph(status)
    yield Paragraph(sentences.of_peak(given))
    yield Paragraph(f"{sentences.of_price(given)} {sentences.of_minimum(given.minimum)}")
    others = " ".join(sentences.of_other_budgets(given))
    if others:
        yield Paragraph(f"{others} (Plans found in a short search; predicted.)")
    resident = f" Parameters, buffers and batch take {text.of_bytes(given.resident_bytes)} more."
    origin = f"Bytes are those of the step's own values.{'' if note else resident}"
    newer = " The ops' times are newer than the plan; seconds are by the newer ones."
    known = f" {note}" if note else ""
    yield Paragraph(origin + (newer if given.recertified else "") + known)


def _peak(given: Explanation, top: int) -> Iterator[Part]:
    peak = given.peak
    if peak.op is None:
        return
    yield _memory(given)
    columns = ["values>", "bytes>", "share|"]
    reasons = [_shares(each.label, each, peak.bytes) for each in peak.by_reason]
    yield Table("At the peak: why it is there, predicted", ["why", *columns], reasons)
    for title, groups, name in (
        ("op", peak.by_target, text.of_target),
        ("module", peak.by_layer, str),
        ("source line", peak.by_source, text.of_source),
    ):
        if _known(groups):
            rows = [_shares(name(each.label), each, peak.bytes) for each in _rest(groups, top)]
            yield Table(f"At the peak: by {title}, predicted", [title, *columns], rows)
    yield _values(peak, top)


def _known(groups: Sequence[Group]) -> bool:
    return any(group.label != NOWHERE for group in groups)


def _rest(groups: Sequence[Group], top: int) -> Sequence[Group]:
    """The first groups, and one for all the others."""
    rest = groups[top:]
    if len(rest) < 2:
        return groups
    summed = Group(
        f"{len(rest)} others",
        sum(each.count for each in rest),
        sum(each.bytes for each in rest),
        sum(each.seconds for each in rest),
    )
    return (*groups[:top], summed)


def _shares(label: str, group: Group, whole: int) -> Row:
    return (
        label,
        text.of_count(group.count) if group.count else "",
        text.of_bytes(group.bytes),
        text.of_share(group.bytes, whole),
    )


def _op(label: str) -> str:
    """An op without what goes without saying."""
    target, space, place = label.partition(" ")
    return text.of_target(target) + space + place


def _values(peak: Peak, top: int) -> Table:
    """The largest values at the peak; those of repeated layers are one row."""
    alike = defaultdict[tuple[str, ...], list[int]](list)
    for value in peak.values:
        made = value.made_by
        again = " again" if made.recomputation else ""
        alike[_op(kind(made.target, made.module)) + again, _why(value)].append(value.bytes)
    rows = [
        (
            *key,
            text.of_count(len(sizes)),
            text.of_bytes(sum(sizes)),
            text.of_share(sum(sizes), peak.bytes),
        )
        for key, sizes in sorted(alike.items(), key=lambda each: (-sum(each[1]), each[0]))
    ]
    columns = ["made by", "why it is there", "values>", "bytes>", "share|"]
    return Table("At the peak: largest values, alike ones together, predicted", columns, rows[:top])


def _why(value: LiveValue) -> str:
    use = value.next_use
    later = f"{text.of_target(use.target)} in {use.segment}" if use else ""
    match value.why:
        case "written":
            return "written by the op itself" + (f", then {later}" if later else "")
        case "read":
            return "read by the op itself" + (f", then {later}" if later else "")
        case "result":
            return "result of the step"
        case "kept" | "waiting":
            return f"{value.why} until {later}"


def _memory(given: Explanation) -> CurveFigure:
    lines = {"unplanned": given.base_memory} | ({"planned": given.memory} if given.planned else {})
    whole = max(sum(each.seconds) for each in lines.values())
    return CurveFigure(
        "Memory over the time of the step, predicted",
        [(name, _points(memory, whole)) for name, memory in lines.items()],
    )


def _points(memory: Memory, whole: float) -> list[int]:
    """The most that is alive in each stretch of time; of `whole` there are CURVE_POINTS."""
    count = len(memory.bytes)
    points: list[int] = []
    passed = 0.0
    for position, (size, seconds) in enumerate(zip(memory.bytes, memory.seconds, strict=True)):
        first = _point(passed / whole if whole else position / count)
        passed += seconds
        last = max(first, _point(passed / whole if whole else (position + 1) / count) - 1)
        points += [0] * (last + 1 - len(points))
        points[first : last + 1] = [max(size, each) for each in points[first : last + 1]]
    return points


def _point(share: float) -> int:
    return min(CURVE_POINTS - 1, round(share * CURVE_POINTS))


def _recomputed(given: Explanation, top: int) -> Iterator[Part]:
    found = given.recomputed
    if not found.count:
        return
    columns = ["times>", "seconds>", "share|", "bytes freed>"]
    for title, groups, name in (
        ("op", found.by_kind, _op),
        ("source line", found.by_source, text.of_source),
    ):
        if _known(groups):
            rows = [_price(name(each.label), each, found.seconds) for each in _rest(groups, top)]
            yield Table(f"Recomputed: by {title}, predicted", [title, *columns], rows)
    yield _chains(found.chains, top)


def _price(label: str, group: Group, whole: float) -> Row:
    return (
        label,
        text.of_count(group.count),
        text.of_seconds(group.seconds),
        text.of_share(group.seconds, whole),
        text.of_bytes(group.bytes),
    )


def _chains(chains: Sequence[Chain], top: int) -> Table:
    """Chains of the same ops are one row: repeated layers have the same."""
    groups = grouped(
        Share(_steps([run.target for run in each.runs]), each.freed_bytes, each.seconds)
        for each in chains
    )
    dearest = sorted(groups, key=lambda group: -group.seconds)
    whole = sum(chain.seconds for chain in chains)
    columns = ["chain", "times>", "seconds>", "share|", "bytes freed>?"]
    rows = [_price(each.label, each, whole) for each in _rest(dearest, top)]
    return Table("Recomputed: in chains that feed one another, predicted", columns, rows)


def _steps(targets: Sequence[str]) -> str:
    names = [text.of_target(each) for each in targets]
    if len(names) > LONG_CHAIN:
        names = [*names[:2], f"{len(names) - 4} more", *names[-2:]]
    return " > ".join(names)


def _kept(given: Explanation, top: int) -> Iterator[Part]:
    kept = given.kept
    if not kept.values:
        return

    def row(group: Group) -> Row:
        per_gib = group.seconds / group.bytes * GIB if group.bytes else 0.0
        return (
            *_shares(_op(group.label), group, kept.bytes),
            text.of_seconds(group.seconds),
            text.of_seconds(per_gib),
        )

    columns = ["what", "values>?", "bytes>", "share|", "to recompute>", "per GiB>?"]
    whole = text.of_bytes(kept.bytes)
    title = f"Kept for a later segment: {whole}; time is of its own op alone, predicted"
    yield Table(title, columns, [row(each) for each in _rest(kept.by_kind, top)])


def _minimum(given: Explanation, top: int) -> Iterator[Part]:
    minimum = given.minimum
    if not minimum.parts:
        return
    results = [part for part in minimum.parts if part.role == "result"]
    touched = [part for part in minimum.parts if part.role != "result"]
    rows = [_minimum_row(part, minimum.bytes) for part in touched[:top]]
    for name, rest in (("others it touches", touched[top:]), ("results of the step", results)):
        if rest:
            rows.append(_minimum_sum(f"{len(rest)} {name}", rest, minimum.bytes))
    title = f"The minimum budget: what is there {minimum.when}, predicted"
    yield Table(title, ["what", "made by", "bytes>", "share|"], rows)


def _minimum_row(part: MinimumPart, whole: int) -> Row:
    role = {"read": "read by it", "written": "written by it"}.get(part.role, part.role)
    place = f" in {part.module}" if part.module else ""
    made_by = f"op {part.op}, {text.of_target(part.target)}{place}"
    size = text.of_bytes(part.bytes)
    return (role, made_by, size, text.of_share(part.bytes, whole))


def _minimum_sum(name: str, parts: Iterable[MinimumPart], whole: int) -> Row:
    size = sum(part.bytes for part in parts)
    return (name, None, text.of_bytes(size), text.of_share(size, whole))


def _other_budgets(given: Explanation) -> Table:
    rows = [_other_budget(given, each) for each in given.other_budgets]
    columns = ["budget>", "change>", "extra time>", "share>?", "saves>", "per GiB>?", "bound>"]
    return Table(
        "Other budgets: plans found in a short search, predicted; no plan is below the bound",
        columns,
        rows,
    )


def _other_budget(given: Explanation, other: OtherBudget) -> Row:
    share = 100 * other.change_bytes / given.base_peak_bytes if given.base_peak_bytes else 0
    found = {"infeasible": "impossible", "not_found": "none found"}.get(other.status)
    extra, bound = other.extra_seconds, other.lower_bound_seconds
    saves = bool(other.change_bytes) and other.saved_seconds is not None
    return (
        text.of_bytes(other.step_budget_bytes),
        f"{share:+.0f}%" if other.change_bytes else "0%",
        found if extra is None else text.of_seconds(extra),
        "" if extra is None else text.of_share(extra, given.base_seconds),
        text.of_seconds(other.saved_seconds or 0.0) if saves else "",
        text.of_seconds(other.saved_seconds_per_gib or 0.0) if saves else "",
        "" if bound is None else text.of_seconds(bound),
    )
