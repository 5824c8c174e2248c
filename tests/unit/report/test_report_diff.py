"""What differs between two profiles, largest first, and only what both sides know."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import assume, given, settings

from fastsa.records.profile import Profile
from fastsa.records.timeline import CATEGORIES, Site
from fastsa.report import diff
from fastsa.report.diff import Change, DiffReport
from fastsa.report.layout import PageFacts, Paragraph, Table
from support import builders, whole_profiles
from support.whole_profiles import LIVES, Life, live_bytes, profile

KIB = 1024


def between(a: Profile, b: Profile) -> DiffReport:
    return diff.summarize("a" * 64, a, "b" * 64, b)


def named(changes: tuple[Change, ...]) -> dict[str, Change]:
    return {each.name: each for each in changes}


def tables(report: DiffReport) -> dict[str, Table]:
    return {part.title: part for part in diff.render(report) if isinstance(part, Table)}


class TestNumbers:
    @settings(deadline=None, max_examples=30)
    @given(whole_profiles.lives(), whole_profiles.lives())
    def test_what_is_at_the_peak_adds_up(self, one: list[Life], other: list[Life]) -> None:
        a, b = profile(one), profile(other)
        for side in (a, b):  # what is highest before the first event is at no event
            assume(side.peak_bytes in (live_bytes(side.timeline)[1:] or [side.peak_bytes]))
        report = between(a, b)
        for changes in (report.peak_by_category, report.peak_by_source):
            assert sum(each.a or 0 for each in changes) == a.peak_bytes
            assert sum(each.b or 0 for each in changes) == b.peak_bytes
        peak = report.totals[0]
        assert (peak.name, peak.difference) == ("peak_bytes", b.peak_bytes - a.peak_bytes)
        assert [each.name for each in report.peak_by_category] == [
            name for name in CATEGORIES if name in named(report.peak_by_category)
        ]
        sizes = [abs(each.difference or 0) for each in report.peak_by_source]
        assert sizes == sorted(sizes, reverse=True)

    @settings(deadline=None, max_examples=30)
    @given(whole_profiles.lives(), whole_profiles.lives())
    def test_the_other_way_around_is_the_negative(self, one: list[Life], other: list[Life]) -> None:
        there, back = between(profile(one), profile(other)), between(profile(other), profile(one))
        assert named(there.peak_by_source) == {
            each.name: Change(each.name, each.b, each.a, -(each.difference or 0))
            for each in back.peak_by_source
        }

    def test_totals(self) -> None:
        totals = named(between(profile(), profile(factor=2)).totals)
        assert totals["kept_bytes"] == Change("kept_bytes", 48 * KIB, 64 * KIB, 16 * KIB)
        assert totals["step_seconds"] == Change("step_seconds", 0.25, 0.5, 0.25)
        assert totals["peak_bytes"].difference == 0

    def test_what_only_one_side_has_is_nothing_on_the_other(self) -> None:
        report = between(profile(), profile(sites=[Site("activation", source="new.py:1")]))
        changes = named(report.peak_by_source)
        assert (changes["new.py:1"].a, changes["new.py:1"].b) == (0, profile().peak_bytes)
        assert changes["/home/me/train.py:10"].b == 0

    def test_kept_by_module_leaves_parameters_out(self) -> None:
        (most, *others) = between(profile(), profile(factor=3)).kept_by_module
        assert most == Change("blocks.0.mlp", 16 * KIB, 48 * KIB, 32 * KIB)
        assert others == [Change("blocks.1.mlp", 32 * KIB, 32 * KIB, 0)]

    def test_ops_of_the_recorded_steps(self) -> None:
        report = between(profile(), profile(factor=2))
        assert report.op_seconds_of == "recorded step"
        assert report.ops[0].name == "aten::mm"
        assert report.ops[0].difference == pytest.approx(0.03)

    def test_ops_measured_alone_where_a_step_has_none(self) -> None:
        a = msgspec.structs.replace(profile(LIVES, builders.graph()), ops=())
        report = between(a, profile(LIVES, builders.graph(scale=2)))
        assert report.op_seconds_of == "ops measured alone"
        assert named(report.ops)["aten.mm.default"].difference == pytest.approx(3e-4)

    def test_no_ops_on_one_side(self) -> None:
        report = between(msgspec.structs.replace(profile(), ops=()), profile())
        assert (report.op_seconds_of, report.ops) == (None, ())

    def test_what_is_not_known_has_no_difference(self) -> None:
        told = msgspec.structs.replace(
            profile(), step_seconds=None, saved=(), missing=("imported",), ended="OSError: x"
        )
        totals = named(between(told, profile()).totals)
        assert totals["step_seconds"] == Change("step_seconds", None, 0.25, None)
        assert totals["kept_bytes"] == Change("kept_bytes", None, 48 * KIB, None)


class TestForPeople:
    def test_signs_and_percents(self) -> None:
        rows = {
            row[0]: row[1:]
            for row in tables(between(profile(), profile(factor=2)))["Measured"].rows
        }
        assert rows["step time"] == ("250.00 ms", "500.00 ms", "+250.00 ms", "+100.0%")
        assert rows["kept for the backward"] == ("48.00 KiB", "64.00 KiB", "+16.00 KiB", "+33.3%")
        assert rows["peak, whole process"][2:] == ("0", "0.0%")
        back = tables(between(profile(factor=2), profile()))["Measured"].rows
        assert back[3][3:] == ("-250.00 ms", "-50.0%")

    def test_new_and_gone(self) -> None:
        report = between(profile(), profile(sites=[Site("library", source="/x/y/new.py:1")]))
        title, table = next((t, x) for t, x in tables(report).items() if "source" in t)
        shares = {row[0]: row[4] for row in table.rows}
        assert shares["y/new.py:1"] == "new"
        assert shares["me/train.py:10"] == "-100.0%"
        assert "measured" in title

    def test_ten_of_each(self) -> None:
        lives: list[Life] = [(512 + i, 0, None) for i in range(30)]
        sites = [Site("temporary", source=f"a.py:{i}") for i in range(30)]
        report = between(profile(), profile(lives, sites=sites))
        title, table = next((t, x) for t, x in tables(report).items() if "source" in t)
        assert len(table.rows) == diff.TOP
        assert "10 largest differences of " in title

    def test_what_says_nothing_is_left_out(self) -> None:
        unknown = [Site("temporary")]
        report = between(profile(sites=unknown), profile(LIVES[:3], sites=unknown))
        assert not [title for title in tables(report) if "source" in title]
        assert len(tables(between(profile(), profile()))) == 2

    def test_warnings(self) -> None:
        b = msgspec.structs.replace(
            profile(), device="Other", missing=("no NVML here",), ended="OSError: gone"
        )
        told = [
            part.text for part in diff.render(between(profile(), b)) if isinstance(part, Paragraph)
        ]
        assert len(told) == 3
        assert "devices differ" in told[0]
        assert told[1:] == ["B broke off: OSError: gone.", "B: no NVML here."]

    def test_names_both(self) -> None:
        facts = next(iter(diff.render(between(profile(), profile(script="other.py")))))
        assert isinstance(facts, PageFacts)
        assert "A, aaaaaaaaaaaa" in facts.title
        assert "other.py --steps 3" in (facts.pairs[1][1] or "")
