"""`fastsa explain`, as people and programs use it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fastsa.cache.store import Store
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.planner.solve import plan
from support import builders
from support.commands import HOSTILE, Fastsa, Filled, only_json
from support.fork_server import Done

EVIL = HOSTILE + "<script>alert(1)</script>\r\n"

# Adding a key is fine; these stay.
KEYS = """schema graph graph_name ops resident_bytes planned recertified status step_budget_bytes
    peak_bytes base_peak_bytes base_seconds extra_seconds lower_bound_seconds lower_bound_assumes
    peak memory base_memory recomputed kept minimum other_budgets"""


def recomputing(graph: Graph, share: float = 0.8) -> Plan:
    """A legal plan that recomputes."""
    whole = plan(graph, 2**60, iterations=0)
    low = whole.minimum_budget_bytes
    budget = int(low + (whole.base_peak_bytes - low) * share)
    found = plan(graph, budget, iterations=20_000, time_limit=None)
    assert found.fits
    assert found.extra_seconds > 0
    return found


def evil_graph() -> Graph:
    """Every name is out to steer a terminal, or a page."""
    graph = builders.graph(6, name=EVIL)
    ops = [
        msgspec.structs.replace(op, target=EVIL, name=EVIL, module=EVIL, source=EVIL)
        for op in graph.ops
    ]
    segments = [msgspec.structs.replace(each, name=EVIL) for each in graph.segments]
    return msgspec.structs.replace(graph, ops=tuple(ops), segments=tuple(segments))


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """Arguments: a graph file and a plan file of it that recomputes."""
    graph = builders.graph(6)
    graph.write(tmp_path / "graph.json.gz")
    recomputing(graph).write(tmp_path / "plan.json")
    return ("--graph", str(tmp_path / "graph.json.gz"), "--plan", str(tmp_path / "plan.json"))


class TestStored:
    def test_a_plan(self, fastsa: Fastsa, place: Path) -> None:
        graph = builders.graph(6)
        with Store.open(place) as store:
            store.add_graph(graph)
            plan_id = store.add_plan(recomputing(graph), builders.key(graph))
        done = fastsa("explain", plan_id[:12], "--time-limit", "0.05")
        assert (done.returncode, done.stderr) == (0, "")
        for word in (
            "The planned peak of",
            "kept from forward for backward",
            "blocks.*",
            "train.py:1",
            "run again, for",
            "No budget below",
            "Other budgets",
            "predicted",
        ):
            assert word in done.stdout

    def test_a_profile(self, fastsa: Fastsa, filled: Filled) -> None:
        done = fastsa("explain", filled.profile_id, "--time-limit", "0.02")
        assert (done.returncode, done.stderr) == (0, "")
        assert "The unplanned peak of" in done.stdout
        assert "9.00 KiB for the whole process" in done.stdout
        assert "Recomputed" not in done.stdout

    def test_a_graph(self, fastsa: Fastsa, filled: Filled) -> None:
        explained = only_json(fastsa("explain", filled.graph_id, "--no-what-if", "--json"))
        assert explained["graph"] == filled.graph.hash()
        assert explained["planned"] is False

    @pytest.mark.parametrize(
        ("which", "reason"),
        [
            ("run_id", "is a run"),
            ("two_regions_id", "2 captured regions"),
        ],
    )
    def test_refusals(self, fastsa: Fastsa, filled: Filled, which: str, reason: str) -> None:
        refused(fastsa("explain", getattr(filled, which)), reason)

    def test_a_plan_that_is_not_what_it_claims(self, fastsa: Fastsa, place: Path) -> None:
        graph = builders.graph(6)
        wrong = msgspec.structs.replace(recomputing(graph), peak_bytes=1)
        with Store.open(place) as store:
            store.add_graph(graph)
            plan_id = store.add_plan(wrong, builders.key(graph))
        refused(fastsa("explain", plan_id), "cannot be explained: its peak is")

    @pytest.mark.parametrize("bad", ["0" * 12, "zz", EVIL])
    def test_unknown_ids(self, fastsa: Fastsa, filled: Filled, bad: str) -> None:
        refused(fastsa("explain", bad), "")

    def test_an_unusable_store(self, fastsa: Fastsa) -> None:
        assert fastsa("explain", "abcdef", FASTSA_STORE="/dev/null/store.db").returncode == 4


def refused(done: Done, reason: str) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


class TestFiles:
    def test_json(self, fastsa: Fastsa, files: tuple[str, ...]) -> None:
        explained = only_json(fastsa("explain", *files, "--json", "--time-limit", "0.02"))
        assert set(explained) == set(KEYS.split())
        assert explained["schema"] == "fastsa.explain/2"
        assert explained["planned"] is True
        alive = sum(each["bytes"] for each in explained["peak"]["values"])
        assert alive + explained["peak"]["workspace_bytes"] == explained["peak_bytes"]
        changes = [each["change_bytes"] for each in explained["other_budgets"]]
        assert len(changes) == 5
        assert changes == sorted(changes, reverse=True)

    def test_no_what_if(self, fastsa: Fastsa, files: tuple[str, ...]) -> None:
        done = fastsa("explain", *files, "--no-what-if")
        assert done.returncode == 0
        assert "Other budgets" not in done.stdout

    def test_top(self, fastsa: Fastsa, files: tuple[str, ...]) -> None:
        few = fastsa("explain", *files, "--no-what-if", "--top", "1").stdout
        many = fastsa("explain", *files, "--no-what-if", "--top", "50").stdout
        assert " others" in few
        assert " others" not in many
        assert len(few.splitlines()) < len(many.splitlines())

    def test_a_budget_that_cannot_be_met(
        self, fastsa: Fastsa, files: tuple[str, ...], tmp_path: Path
    ) -> None:
        plan(builders.graph(6), 1).write(tmp_path / "plan.json")
        done = fastsa("explain", *files, "--time-limit", "0.05")
        assert (done.returncode, done.stderr) == (0, "")
        assert "The budget of 1 B cannot be met" in done.stdout
        assert "The minimum budget: what is there" in done.stdout
        assert "Other budgets" in done.stdout

    def test_a_plan_over_its_budget(
        self, fastsa: Fastsa, files: tuple[str, ...], tmp_path: Path
    ) -> None:
        graph = builders.graph(6)
        low = plan(graph, 2**60, iterations=0).minimum_budget_bytes
        missing = plan(graph, low, iterations=0)
        assert missing.status == "not_found"
        missing.write(tmp_path / "plan.json")
        done = fastsa("explain", *files, "--no-what-if")
        assert done.returncode == 0
        assert "This plan misses its budget of" in done.stdout

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--plan", "plan.json"],
            ["abcdef", "--plan", "plan.json"],
            ["abcdef", "--graph", "graph.json.gz"],
            ["--graph", "nowhere.json"],
            ["--graph", "graph.json.gz", "--plan", "graph.json.gz"],
            ["--graph", "graph.json.gz", "--plan", "other.json"],
            ["--graph", "graph.json.gz", "--top", "0"],
            ["--graph", "graph.json.gz", "--time-limit", "-1"],
            ["--graph", "graph.json.gz", "--time-limit", "nan"],
        ],
    )
    def test_bad_usage(
        self,
        fastsa: Fastsa,
        files: tuple[str, ...],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        recomputing(builders.graph(7)).write(tmp_path / "other.json")
        done = fastsa("explain", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr


class TestAnyTerminal:
    @pytest.mark.parametrize("columns", ["20", "60", "100", "200"])
    @pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
    def test_narrow_and_foreign(
        self, fastsa: Fastsa, files: tuple[str, ...], columns: str, encoding: str
    ) -> None:
        more = {"COLUMNS": columns, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        done = fastsa("explain", *files, "--no-what-if", **more)
        assert (done.returncode, done.stderr) == (0, "")
        assert max(len(line) for line in done.stdout.splitlines()) <= int(columns)
        assert ("█" in done.stdout) == (encoding == "utf-8")
        assert "?" not in done.stdout  # a character that could not be shown

    def test_bars_only_where_somebody_looks(self, fastsa: Fastsa, files: tuple[str, ...]) -> None:
        rows = [
            line
            for line in fastsa("explain", *files, "--no-what-if").stdout.splitlines()
            if line.endswith("%")
        ]
        assert rows
        assert not any("█" in row or "#" in row for row in rows)

    @pytest.mark.parametrize("columns", ["60", "200"])
    def test_names_stay_text(self, fastsa: Fastsa, tmp_path: Path, columns: str) -> None:
        graph = evil_graph()
        graph.write(tmp_path / "graph.json")
        recomputing(graph).write(tmp_path / "plan.json")
        arguments = ["--graph", str(tmp_path / "graph.json"), "--plan", str(tmp_path / "plan.json")]
        done = fastsa("explain", *arguments, "--time-limit", "0.02", COLUMNS=columns)
        assert (done.returncode, done.stderr) == (0, "")
        assert not {"\x1b", "\r", "\u202e"} & set(done.stdout)
        folded = "".join(done.stdout.split())
        assert "[red]evil\\x1b[2J" in folded
        assert "<script>" in folded
        read = only_json(fastsa("explain", *arguments, "--no-what-if", "--json"))
        assert read["peak"]["op"]["target"] == EVIL
