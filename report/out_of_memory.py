"""What a person sees beside an out-of-memory error: what was alive, and what would have fitted."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from fastsa.planner.budget import format_bytes
from fastsa.records.profile import Profile
from fastsa.records.timeline import Allocation, Site, Timeline
from fastsa.report import text

TOP = 5
_WIDTH = 10


def summary(
    profile: Profile,
    identity: str | None,
    *,
    requested_bytes: int | None = None,
    process_budget_bytes: int | None = None,
) -> str:
    """A profile that ended for want of memory, in some lines.

    `identity` is its id, None if it is not stored; `requested_bytes` what the failing allocation
    asked for, `process_budget_bytes` what it ran under: None if not known, or there was none.
    """
    lines = (
        f"fastsa: out of memory on {text.printable(profile.device)}: "
        f"{_name(identity)} of {text.printable(profile.model)}",
        *_asked(requested_bytes),
        *_alive(profile.timeline),
        *_fits(profile, process_budget_bytes),
        *_next(profile, identity, process_budget_bytes),
    )
    return "\n".join(lines)


def at_end(timeline: Timeline) -> list[Allocation]:
    """The blocks that are alive when a timeline ends."""
    return list(timeline.alive_at(max(0, timeline.events - 1)))


def _name(identity: str | None) -> str:
    return "snapshot, not stored," if identity is None else f"profile {text.of_id(identity)}"


def _asked(requested_bytes: int | None) -> Iterator[str]:
    if requested_bytes is not None:
        yield _line("asked for", format_bytes(requested_bytes))


def _alive(timeline: Timeline) -> Iterator[str]:
    blocks = at_end(timeline)
    total = sum(block.bytes for block in blocks)
    yield _line("alive", f"{format_bytes(total)} measured, in {text.of_count(len(blocks))} blocks")
    if timeline.events:  # a snapshot knows nothing of what was before
        yield _line("peak", f"{format_bytes(timeline.peak_bytes)} measured, before the step ended")
    # Where nothing was recorded, the lines are those that hold it (profiler.out_of_memory).
    lines = "made by line" if timeline.events else "held by line"
    sites = timeline.sites
    yield from _largest("by category", blocks, sites, total, lambda site: site.category)
    yield from _largest("by module", blocks, sites, total, lambda site: site.module)
    yield from _largest(lines, blocks, sites, total, lambda site: text.of_source(site.source))


def _largest(
    title: str,
    blocks: Sequence[Allocation],
    sites: Sequence[Site],
    total: int,
    key: Callable[[Site], str | None],
) -> Iterator[str]:
    """The names with the most bytes; those without a name come last, as one."""
    sums = Counter[str]()
    for block in blocks:
        sums[key(sites[block.site]) or ""] += block.bytes
    nameless = sums.pop("", 0)
    if not sums:
        return
    rows = sums.most_common(TOP)
    rest = sum(sums.values()) - sum(size for _, size in rows)
    if rest:
        rows.append((f"{len(sums) - TOP} more", rest))
    if nameless:
        rows.append(("not known", nameless))
    yield f"  {title}"
    for name, size in rows:
        share = text.of_share(size, total)
        yield f"    {format_bytes(size):>12} {share:>6}  {text.printable(name)}"


def _fits(profile: Profile, process_budget_bytes: int | None) -> Iterator[str]:
    minimum = profile.minimum_budget_bytes
    if minimum is None:
        yield from (_line("missing", text.printable(each)) for each in profile.missing)
        return
    yield _line("would fit", f"a budget of {_mebibytes(minimum)} MiB or more, predicted")
    if process_budget_bytes is not None and process_budget_bytes <= minimum:
        ran = format_bytes(process_budget_bytes)
        yield _line("", f"it ran under {ran}: a plan cannot do with less, a smaller batch can")


def _next(
    profile: Profile, identity: str | None, process_budget_bytes: int | None
) -> Iterator[str]:
    minimum = profile.minimum_budget_bytes
    commands = []
    if minimum is not None and (process_budget_bytes is None or process_budget_bytes > minimum):
        # What was alive has fitted; a plan for no more than the minimum would be slower.
        budget = _mebibytes(max(minimum, profile.timeline.peak_bytes))
        script = shlex.join((profile.script, *profile.arguments))
        commands.append(f"fastsa run --budget {budget}MiB {text.printable(script)}")
    if identity is not None:
        commands.append(f"fastsa show {text.of_id(identity)}")
    for number, command in enumerate(commands):
        yield _line("" if number else "next", command)


def _line(name: str, rest: str) -> str:
    return f"  {name:<{_WIDTH}}{rest}"


def _mebibytes(size: int) -> str:
    return f"{math.ceil(size / 2**20 * 100) / 100:.2f}"  # rounded up: a budget must be enough
