"""The text beside an out-of-memory error, made of profiles that hold everything or nothing."""

from __future__ import annotations

import msgspec
import pytest

from fastsa.records.profile import Profile
from fastsa.records.timeline import Allocation, Site, Timeline
from fastsa.report.out_of_memory import at_end, summary
from support import builders
from support.commands import HOSTILE

MIB = 2**20
SITES = (
    Site("parameter", module="blocks.0"),
    Site("activation", op="aten::mm", module="blocks.0", source="/a/b/train.py:7"),
    Site("activation", op="aten::mm", module="blocks.1", source="/a/b/train.py:9"),
    Site("temporary"),
)


def block(size: int, site: int, death: int | None = None) -> Allocation:
    return Allocation(size * MIB, site or None, death, None, None, site)


def recorded() -> Timeline:
    """A step that broke off after event 5; the temporary was gone by then."""
    return Timeline(
        events=6,
        resident_bytes=10 * MIB,
        peak_bytes=75 * MIB,
        peak_event=3,
        seconds=1.0,
        sites=SITES,
        allocations=(block(10, 0), block(20, 1), block(30, 2), block(15, 3, death=4)),
    )


def broken_off(**changes: object) -> Profile:
    whole = builders.profile()
    given = {"timeline": recorded(), "ended": "RuntimeError: x", "regions": ()} | changes
    return msgspec.structs.replace(whole, **given)


def test_recorded_step() -> None:
    text = summary(
        broken_off(minimum_budget_bytes=40 * MIB + 1),
        "0123456789abcdef" * 4,
        requested_bytes=5 * MIB,
    )
    assert text.splitlines() == [
        "fastsa: out of memory on Test Device 1: profile 0123456789ab of __main__.Net",
        "  asked for 5.00 MiB",
        "  alive     60.00 MiB measured, in 3 blocks",
        "  peak      75.00 MiB measured, before the step ended",
        "  by category",
        "       50.00 MiB  83.3%  activation",
        "       10.00 MiB  16.7%  parameter",
        "  by module",
        "       30.00 MiB  50.0%  blocks.0",
        "       30.00 MiB  50.0%  blocks.1",
        "  made by line",
        "       30.00 MiB  50.0%  b/train.py:9",
        "       20.00 MiB  33.3%  b/train.py:7",
        "       10.00 MiB  16.7%  not known",
        "  would fit a budget of 40.01 MiB or more, predicted",
        "  next      fastsa run --budget 75.00MiB train.py --steps 3",
        "            fastsa show 0123456789ab",
    ]


def test_snapshot() -> None:
    """Nothing was recorded: no peak before, and lines are those that hold."""
    alive = tuple(Allocation(b.bytes, None, None, None, None, b.site) for b in at_end(recorded()))
    timeline = Timeline(0, 60 * MIB, 60 * MIB, 0, 0.0, SITES, alive)
    text = summary(broken_off(timeline=timeline, missing=("NVML was not read",)), None)
    assert "snapshot, not stored, of __main__.Net" in text
    assert "  held by line\n" in text
    assert "peak" not in text
    assert "  missing   NVML was not read" in text
    assert "next" not in text


@pytest.mark.parametrize(("budget", "useless"), [(39, True), (40, True), (41, False)])
def test_ran_under_a_budget(budget: int, useless: bool) -> None:
    text = summary(
        broken_off(minimum_budget_bytes=40 * MIB), "ab" * 32, process_budget_bytes=budget * MIB
    )
    assert ("a smaller batch can" in text) == useless
    assert ("fastsa run --budget" in text) != useless


def test_many_modules() -> None:
    sites = tuple(Site("activation", module=f"blocks.{i}") for i in range(12))
    blocks = tuple(Allocation((i + 1) * MIB, None, None, None, None, i) for i in range(12))
    text = summary(broken_off(timeline=Timeline(1, 0, 0, 0, 0.0, sites, blocks)), None)
    lines = text.splitlines()
    start = lines.index("  by module")
    assert [line.split()[-1] for line in lines[start + 1 : start + 6]] == [
        f"blocks.{i}" for i in (11, 10, 9, 8, 7)
    ]
    assert lines[start + 6].split() == ["28.00", "MiB", "35.9%", "7", "more"]


def test_nothing_alive() -> None:
    text = summary(broken_off(timeline=Timeline(0, 0, 0, 0, 0.0, (), ())), None)
    assert "  alive     0 B measured, in 0 blocks" in text


def test_names_cannot_steer_the_terminal() -> None:
    site = Site("activation", module=HOSTILE, source=f"{HOSTILE}:3")
    timeline = Timeline(1, 1, 1, 0, 0.0, (site,), (Allocation(1, None, None, None, None, 0),))
    text = summary(
        broken_off(
            timeline=timeline,
            model=HOSTILE,
            script=HOSTILE,
            device=HOSTILE,
            minimum_budget_bytes=1,
        ),
        "ab" * 32,
    )
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert all(part.isprintable() for part in text.split("\n"))
