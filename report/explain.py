"""An explanation of a peak, a price and a minimum, for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from fastsa.planner.explain.explanation import Explanation, Memory
from fastsa.planner.explain.groups import NOWHERE, Group
from fastsa.planner.explain.minimum import Part as MinimumPart
from fastsa.planner.explain.other_budgets import GIB, OtherBudget
from fastsa.planner.explain.peak import LiveValue
from fastsa.planner.explain.recomputed import Chain
from fastsa.report import explain_text as sentences
from fastsa.report import text
from fastsa.report.layout import Curve, Paragraph, Part, Table

TOP = 5
CURVE_POINTS = 64
SHORT_CHAIN = 4

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
        yield Paragraph(f"{others} (Plans found and predicted.)")
    resident = f"{text.of_bytes(given.resident_bytes)} resident"
    origin = f"Bytes are those of the step's own values; {resident} come on top."
    newer = " The ops' times are newer than the plan; seconds are by the newer ones."
    known = f" {note}" if note else ""
    yield Paragraph(origin + (newer if given.recertified else "") + known)


def _peak(given: Explanation, top: int) -> Iterator[Part]:
    peak = given.peak
    if peak.op is None:
        return
    yield _memory(given)
    columns = ["values>", "bytes>", "share%"]
    for title, name, groups in (
        ("At the peak: why it is there", "why", peak.by_reason),
        ("At the peak: by op that made it", "op", peak.by_target),
        ("At the peak: by module", "module", peak.by_layer),
        ("At the peak: by source line", "source", peak.by_source),
    ):
        if _known(groups):
            cut = len(groups) if groups is peak.by_reason else top
            rows = _rest(groups, cut, lambda group: _shares(group, peak.bytes))
            yield Table(f"{title}, predicted", [name, *columns], rows)
    rows = [_value(each, peak.bytes) for each in peak.values[:top]]
    columns = ["bytes>", "share%", "made by", "module?", "source?", "why it is there"]
    yield Table("At the peak: largest values, predicted", columns, rows)


def _known(groups: Sequence[Group]) -> bool:
    return any(group.label != NOWHERE for group in groups)


def _rest(groups: Sequence[Group], top: int, row: Callable[[Group], Row]) -> list[Row]:
    """A row for each of the first groups, and one for all the others."""
    rest = groups[top:]
    if len(rest) < 2:
        return [row(each) for each in groups]
    summed = Group(
        f"{len(rest)} others",
        sum(each.count for each in rest),
        sum(each.bytes for each in rest),
        sum(each.seconds for each in rest),
    )
    return [row(each) for each in (*groups[:top], summed)]


def _shares(group: Group, whole: int) -> Row:
    return (
        _place(group.label),
        text.of_count(group.count) if group.count else "",
        text.of_bytes(group.bytes),
        text.of_share(group.bytes, whole),
    )


def _place(label: str) -> str:
    """A source line without the long way to it."""
    return text.of_source(label) if label.startswith("/") else label


def _value(value: LiveValue, whole: int) -> Row:
    made = value.made_by
    return (
        text.of_bytes(value.bytes),
        text.of_share(value.bytes, whole),
        made.target + (", again" if made.recomputation else ""),
        made.module,
        text.of_source(made.source),
        _why(value),
    )


def _why(value: LiveValue) -> str:
    use = value.next_use
    later = f"{use.target} in {use.segment}" if use else ""
    match value.why:
        case "written":
            return "written by the op itself" + (f", then {later}" if later else "")
        case "read":
            return "read by the op itself" + (f", then {later}" if later else "")
        case "result":
            return "result of the step"
        case "kept" | "waiting":
            return f"{value.why} until {later}"


def _memory(given: Explanation) -> Curve:
    lines = {"unplanned": given.base_memory} | ({"planned": given.memory} if given.planned else {})
    whole = max(sum(each.seconds) for each in lines.values())
    return Curve(
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
    columns = ["times>", "seconds>", "share%", "bytes freed>"]
    for title, name, groups in (
        ("Recomputed: by op", "op", found.by_target),
        ("Recomputed: by module", "module", found.by_layer),
        ("Recomputed: by source line", "source", found.by_source),
    ):
        if _known(groups):
            rows = _rest(groups, top, lambda group: _price(group, found.seconds))
            yield Table(f"{title}, predicted", [name, *columns], rows)
    runs = [
        (
            str(each.run.op),
            each.run.target,
            text.of_seconds(each.seconds),
            text.of_bytes(each.freed_bytes),
            each.run.module,
            text.of_source(each.run.source),
        )
        for each in found.runs[:top]
    ]
    columns = ["op>", "target", "seconds>", "bytes freed>", "module?", "source?"]
    yield Table("Recomputed: dearest single ops, predicted", columns, runs)
    yield _chains(found.chains, top)


def _price(group: Group, whole: float) -> Row:
    return (
        _place(group.label),
        text.of_count(group.count),
        text.of_seconds(group.seconds),
        text.of_share(group.seconds, whole),
        text.of_bytes(group.bytes),
    )


def _chains(chains: Sequence[Chain], top: int) -> Table:
    """Chains of the same ops are one row: repeated layers have the same."""
    alike = defaultdict[tuple[str, ...], list[Chain]](list)
    for chain in chains:
        alike[tuple(run.target for run in chain.runs)].append(chain)
    groups = [
        Group(
            _steps(targets),
            len(each),
            sum(chain.freed_bytes for chain in each),
            sum(chain.seconds for chain in each),
        )
        for targets, each in alike.items()
    ]
    groups.sort(key=lambda group: (-group.seconds, -group.bytes, group.label))
    rows = _rest(groups, top, lambda group: _price(group, sum(chain.seconds for chain in chains)))
    columns = ["chain", "times>", "seconds>", "share%", "bytes freed>"]
    return Table("Recomputed: in chains that feed one another, predicted", columns, rows)


def _steps(targets: Sequence[str]) -> str:
    names = [each.removeprefix("aten.").removesuffix(".default") for each in targets]
    if len(names) > SHORT_CHAIN:
        between = len(names) - SHORT_CHAIN
        names = [*names[:2], f"{between} more", *names[2 - SHORT_CHAIN :]]
    return " > ".join(names)


def _kept(given: Explanation, top: int) -> Iterator[Part]:
    kept = given.kept
    if not kept.values:
        return

    def row(group: Group) -> Row:
        per_gib = group.seconds / group.bytes * GIB if group.bytes else 0.0
        return (
            *_shares(group, kept.bytes),
            text.of_seconds(group.seconds),
            text.of_seconds(per_gib),
        )

    columns = ["what", "values>", "bytes>", "share%", "to recompute (own op)>", "per GiB>"]
    title = f"Kept for a later segment: {text.of_bytes(kept.bytes)}, predicted"
    yield Table(title, columns, _rest(kept.by_kind, top, row))


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
    yield Table(title, ["what", "made by", "module?", "bytes>", "share%"], rows)


def _minimum_row(part: MinimumPart, whole: int) -> Row:
    role = {"read": "read by it", "written": "written by it"}.get(part.role, part.role)
    made_by = f"op {part.op}, {part.target}"
    size = text.of_bytes(part.bytes)
    return (role, made_by, part.module, size, text.of_share(part.bytes, whole))


def _minimum_sum(name: str, parts: Iterable[MinimumPart], whole: int) -> Row:
    size = sum(part.bytes for part in parts)
    return (name, None, None, text.of_bytes(size), text.of_share(size, whole))


def _other_budgets(given: Explanation) -> Table:
    rows = [_other_budget(given, each) for each in given.other_budgets]
    columns = ["budget>", "change>", "extra time>", "share>", "saves>", "per GiB>", "bound>"]
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
        text.of_bytes(other.budget_bytes),
        f"{share:+.0f}%" if other.change_bytes else "as asked",
        found if extra is None else text.of_seconds(extra),
        "" if extra is None else text.of_share(extra, given.base_seconds),
        text.of_seconds(other.saved_seconds or 0.0) if saves else "",
        text.of_seconds(other.saved_seconds_per_gib or 0.0) if saves else "",
        "" if bound is None else text.of_seconds(bound),
    )
