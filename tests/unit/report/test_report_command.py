"""`fastsa report` as people run it, and what `fastsa show` says of a full profile."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastsa.cache.store import Store
from fastsa.errors import BadInput
from fastsa.planner import curve, solve
from fastsa.records.profile import Profile
from fastsa.records.timeline import CATEGORIES
from fastsa.report import levels, text
from fastsa.report.html import document, planned
from fastsa.report.html.subject import PageSubject, PlanUse
from support import builders
from support import report_profiles as profiles
from support.commands import Fastsa

PLOTLY = "plotly.js v"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Stored:
    """A full profile, a plan of its graph with a run, and a curve."""

    def __init__(self, store: Store) -> None:
        self.profile = profiles.full()
        self.graph = self.profile.regions[0].graph
        self.key = builders.key(self.graph)
        self.profile_id = store.add_profile(self.profile)
        base = solve.plan(self.graph, 2**50, iterations=0)
        self.plan = solve.plan(self.graph, int(0.7 * base.peak_bytes), iterations=2000)
        self.plan_id = store.add_plan(self.plan, self.key)
        self.run_id = store.add_run(builders.run(self.plan_id, measured=250 * profiles.MIB))
        self.curve = curve.curve(self.graph, points=4, iterations=500, time_limit=None)
        store.add_plans(self.curve.plans, self.key, self.curve.id())


@pytest.fixture
def stored(place: Path) -> Stored:
    with Store.open(place) as store:
        return Stored(store)


def figures(page: str) -> dict[str, dict[str, list[dict[str, object]]]]:
    """The data of the figures."""
    (found,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', page)
    read = json.loads(found)
    assert isinstance(read, dict)
    return read


def traces(page: str) -> dict[object, dict[str, list[float]]]:
    """The timeline's traces by name."""
    return {trace["name"]: trace for trace in figures(page)["timeline"]["data"]}  # type: ignore[misc]


def test_a_profile(fastsa: Fastsa, stored: Stored, tmp_path: Path) -> None:
    done = fastsa("report", stored.profile_id[:8])
    name = f"fastsa-report-{stored.profile_id[:12]}.html"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}: written\n", "")
    page = (tmp_path / name).read_text("utf-8")
    peak = text.of_bytes(stored.profile.peak_bytes)
    for words in (peak, "__main__.GPT", "Kept for backward", "measured, whole process"):
        assert words in page
    assert set(figures(page)) == {"timeline", "peak", "ops", "modules", "curve", "device"}
    assert "planned" not in traces(page)


def test_the_stacked_bytes_are_the_timelines(
    fastsa: Fastsa, stored: Stored, tmp_path: Path
) -> None:
    assert fastsa("report", stored.profile_id, "-o", "x.html").returncode == 0
    drawn = traces((tmp_path / "x.html").read_text("utf-8"))
    stacked = zip(*(drawn[name]["y"] for name in CATEGORIES if name in drawn), strict=True)
    total = drawn["total"]["y"]
    assert [sum(each) for each in stacked] == total
    assert max(total) == stored.profile.peak_bytes == drawn["peak"]["y"][0]


def test_a_plan_is_its_profile_before_and_after(
    fastsa: Fastsa, stored: Stored, tmp_path: Path
) -> None:
    assert fastsa("report", stored.plan_id, "--html", "plan.html").returncode == 0
    page = (tmp_path / "plan.html").read_text("utf-8")
    whole = stored.profile.resident_beside_graph + stored.plan.peak_bytes
    assert max(traces(page)["planned"]["y"]) == whole
    assert "Planned peak" in page
    assert "in its latest run" in page
    given = fastsa("report", stored.profile_id, "--plan", stored.plan_id, "-o", "both.html")
    assert given.returncode == 0
    assert (tmp_path / "both.html").read_text("utf-8") == page


def test_the_curve_is_the_stored_one(fastsa: Fastsa, stored: Stored, tmp_path: Path) -> None:
    fastsa("report", stored.profile_id, "-o", "x.html")
    bound, plans, *_ = figures((tmp_path / "x.html").read_text("utf-8"))["curve"]["data"]
    resident = stored.profile.resident_beside_graph
    assert plans["x"] == [resident + plan.step_budget_bytes for plan in stored.curve.plans]
    assert all(low <= high + 1e-9 for low, high in zip(bound["y"], plans["y"], strict=True))  # type: ignore[call-overload]


@pytest.mark.parametrize("made", [profiles.broken, profiles.untimed, builders.profile])
def test_profiles_with_little_in_them(
    fastsa: Fastsa, place: Path, tmp_path: Path, made: Callable[[], Profile]
) -> None:
    profile = made()
    with Store.open(place) as store:
        identifier = store.add_profile(profile)
    done = fastsa("report", identifier, "-o", "x.html")
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "x.html").read_text("utf-8")
    assert ("This profile is incomplete" in page) == (profile.ended is not None)
    for sentence in profile.missing:
        assert sentence in page
    assert ("Would have fitted" in page) == (profile.minimum_budget_bytes is not None)


def test_a_plan_of_another_graph(fastsa: Fastsa, stored: Stored, place: Path) -> None:
    other = builders.graph(9)
    with Store.open(place) as store:
        plan = store.add_plan(builders.plan(other), builders.key(other))
    done = fastsa("report", stored.profile_id, "--plan", plan)
    assert done.returncode == 2
    assert "it is of another graph" in done.stderr
    lonely = fastsa("report", plan)
    assert lonely.returncode == 2
    assert "there is no profile of the graph of plan" in lonely.stderr


def test_refusals(fastsa: Fastsa, stored: Stored, tmp_path: Path) -> None:
    for arguments, reason in (
        ([stored.run_id], "is a run, not a profile"),
        ([stored.graph.hash()[7:]], "is a graph, not a profile"),
        ([stored.profile_id, "--plan", stored.run_id], "is a run, not a plan"),
        ([stored.profile_id, "-o", "nowhere/x.html"], "there is no folder nowhere"),
        (["ffffffff"], "nothing in the store begins with"),
    ):
        done = fastsa("report", *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert reason in done.stderr
    assert list(tmp_path.glob("*.html")) == []


def test_a_plan_of_one_of_several_regions(fastsa: Fastsa, place: Path) -> None:
    graph = builders.graph(4)
    with Store.open(place) as store:
        profile = store.add_profile(builders.profile(builders.graph(5), graph))
        plan = store.add_plan(builders.plan(graph), builders.key(graph))
    assert fastsa("report", profile).returncode == 0
    done = fastsa("report", profile, "--plan", plan)
    assert done.returncode == 2
    assert "has 2 captured regions" in done.stderr


def test_an_infeasible_plan_has_nothing_to_draw(stored: Stored) -> None:
    plan = solve.plan(stored.graph, 1, iterations=0)
    assert plan.status == "infeasible"
    subject = PageSubject(stored.profile_id, stored.profile, PlanUse("0" * 64, plan))
    with pytest.raises(BadInput, match="has no order to draw"):
        document.render(subject)


def test_the_planned_step_is_scaled_to_the_recorded_one(stored: Stored) -> None:
    """Unplanned, it would last from the first forward to the end of the last backward."""
    known = levels.of(stored.profile.timeline)
    forward, backward, _ = known.phases
    step = planned.of(stored.graph, stored.plan, known, stored.profile.resident_beside_graph)
    recorded = backward.end - forward.start
    longer = stored.plan.seconds / stored.plan.base_seconds
    assert step.end - forward.start == pytest.approx(recorded * longer)
    assert max(each.bytes for each in step.running) == step.peak_bytes


def test_without_plotly(fastsa: Fastsa, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = [name for name in sys.modules if name.partition(".")[0] == "plotly"]
    for name in ("plotly", *loaded):
        monkeypatch.setitem(sys.modules, name, None)
    done = fastsa("report", stored.profile_id)
    assert done.returncode == 2
    assert done.stderr == (
        "fastsa: reports need plotly, which is not installed. Run pip install 'fastsa[plots]'\n"
    )


def test_a_full_disk_leaves_no_half_a_file(fastsa: Fastsa, stored: Stored) -> None:
    done = fastsa("report", stored.profile_id, "-o", "/dev/full")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


def test_a_page_of_many_allocations_is_small(fastsa: Fastsa, place: Path, tmp_path: Path) -> None:
    """As large as the drawing library, and a little more."""
    from plotly.offline import get_plotlyjs

    with Store.open(place) as store:
        identifier = store.add_profile(profiles.full(300))
    assert fastsa("report", identifier, "-o", "x.html").returncode == 0
    page = (tmp_path / "x.html").read_text("utf-8")
    assert PLOTLY in page
    assert len(page) < len(get_plotlyjs()) + (2 << 20)
    assert len(traces(page)["total"]["y"]) <= 1502


class TestShow:
    def test_tables(self, fastsa: Fastsa, stored: Stored) -> None:
        shown = fastsa("show", stored.profile_id, COLUMNS="100").stdout
        for words in (
            "Memory over the time of the recorded step, measured",
            "▲ peak at",
            "╵forward",
            "╵backward",
            "Kept for the backward, by module, measured",
            "transformer.h.*.attn.softmax",
            "Time by op, measured in the recorded step",
            "Time by module",
            "The step's time, measured",
            "launch and Python",
            "at most 700.00 MiB, by this process",
            "64.00 MiB, of 12 free blocks",
        ):
            assert words in shown
        assert max(map(len, shown.splitlines())) <= 100

    def test_the_timeline_in_ascii(self, fastsa: Fastsa, stored: Stored) -> None:
        more = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "COLUMNS": "70"}
        shown = fastsa("show", stored.profile_id, **more).stdout
        assert "^ peak at" in shown
        assert "|forward" in shown
        assert shown.isascii()

    def test_incomplete(self, fastsa: Fastsa, place: Path) -> None:
        with Store.open(place) as store:
            identifier = store.add_profile(profiles.broken())
        shown = fastsa("show", identifier).stdout
        assert "INCOMPLETE: it ended with OutOfMemoryError" in shown
        assert "missing: NVML: no driver" in shown
        assert "100.00 MiB, the smallest budget, predicted" in shown

    def test_json(self, fastsa: Fastsa, stored: Stored) -> None:
        shown = json.loads(fastsa("show", stored.profile_id, "--json").stdout)
        assert shown["schema"] == "fastsa.show.profile/2"
        moments = shown["levels"]["moments"]
        assert max(moment["total"] for moment in moments) == stored.profile.peak_bytes
        assert shown["saved_by_layer"][0]["module"] == "transformer.h.*.attn.softmax"
        assert shown["device_use"]["beyond_bytes"] == 700 * profiles.MIB
