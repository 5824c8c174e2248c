"""`fastsa curve`: a table, a file, and plans in the store."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from fastsa.cache.store import Store
from fastsa.planner import curve as curves
from fastsa.planner import graph as graphs
from fastsa.planner.validation import validate
from support import builders
from support.commands import Fastsa, Filled, only_json
from support.paths import GRAPHS

GPT2 = GRAPHS / "gpt2_eager.graph.json.gz"
STATES = 64 * 1024  # bytes: more than the states of the generators that plain.py draws from
LITTLE = ("--iterations", "300", "--points", "6")


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "chain.graph.json"
    builders.graph(12, name="chain").write(path)
    return path


class TestGraphFile:
    def test_the_table(self, fastsa: Fastsa, chain: Path) -> None:
        done = fastsa("curve", "--graph", str(chain), *LITTLE)
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert "chain: bytes of the step's own values" in lines[0]
        assert "predicted" in lines[0]
        assert len([line for line in lines if "KiB" in line and "%" in line]) == 6
        assert re.search(r"^minimum +\S+ KiB, proven, set by op \d+: aten\.mm", done.stdout, re.M)
        assert re.search(r"^next +fastsa plan --graph .* --budget \d+%", lines[-1])
        assert done.stdout.count("knee") in (0, 2)

    def test_the_file_has_every_plan(self, fastsa: Fastsa, chain: Path, tmp_path: Path) -> None:
        output = tmp_path / "curve.json.gz"
        done = fastsa("curve", "--graph", str(chain), *LITTLE, "-o", str(output))
        assert (done.returncode, done.stderr) == (0, f"{output}: written\n")
        found = curves.read(output)
        assert (found.complete, len(found.plans)) == (True, 6)
        for plan in found.plans:
            validate(graphs.read(chain), plan)

    def test_json_is_the_file_without_sequences(
        self, fastsa: Fastsa, chain: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "curve.json"
        done = fastsa("curve", "--graph", str(chain), *LITTLE, "-o", str(output), "--json")
        assert done.returncode == 0
        document = json.loads(output.read_bytes())
        assert document["schema"] == "fastsa.curve/1"
        for plan in document["plans"]:
            assert plan.pop("sequence")
        assert json.loads(done.stdout) == document

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ([], "either PROFILE_ID or --graph"),
            (["abcd", "--graph", "GRAPH"], "either PROFILE_ID or --graph"),
            (["--graph", "GRAPH", "--points", "3"], "Give 4 to 1000"),
            (["--graph", "GRAPH", "--time-limit", "-1"], "time limit"),
            (["--graph", "GRAPH", "--threads", "0"], "threads"),
            (["--graph", "GRAPH", "--picture", "curve.jpg"], ".svg or .png"),
            (["--graph", "/nowhere.json"], "cannot be read"),
            (["abcd"], "nothing in the store begins with abcd"),
        ],
    )
    def test_bad_usage(self, fastsa: Fastsa, chain: Path, arguments: list[str], told: str) -> None:
        done = fastsa("curve", *(str(chain) if each == "GRAPH" else each for each in arguments))
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
        assert "Traceback" not in done.stderr

    def test_without_matplotlib_it_says_so_before_it_searches(
        self, fastsa: Fastsa, chain: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loaded = [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]
        for name in ("matplotlib", *loaded):
            monkeypatch.setitem(sys.modules, name, None)
        done = fastsa("curve", "--graph", str(chain), "--picture", "a.svg")
        assert (done.returncode, done.stdout) == (2, "")
        assert "pip install 'fastsa[plots]'" in done.stderr


class TestProfile:
    def stored(self, place: Path) -> list[tuple[str, str | None]]:
        with Store.open(place) as store:
            return [(row.id, row.curve) for row in store.list_items("plan")]

    def test_its_plans_are_stored_as_a_curve(
        self, fastsa: Fastsa, filled: Filled, place: Path
    ) -> None:
        done = fastsa("curve", filled.profile_id[:12], *LITTLE)
        assert done.returncode == 0, done.stderr
        assert "bytes of the whole process" in done.stdout
        assert "fastsa run --budget" in done.stdout.splitlines()[-1]
        told = re.fullmatch(r"stored as (\d+) plans of curve (\w{12})\n", done.stderr)
        assert told
        stored = [(id, curve) for id, curve in self.stored(place) if curve]
        assert len(stored) == int(told[1])
        assert {curve[:12] for _, curve in stored if curve} == {told[2]}
        listed = fastsa("list", "--kind", "plan")
        assert listed.stdout.count(f"curve {told[2]}") == len(stored)
        shown = fastsa("show", stored[0][0])
        assert re.search(rf"^curve +one of curve {told[2]}", shown.stdout, re.M)
        report = only_json(fastsa("show", stored[0][0], "--json"))
        assert report["curve"] == stored[0][1]
        alone = only_json(fastsa("show", filled.plan_id, "--json"))
        assert alone["curve"] is None

    def test_removing_one_leaves_plans_of_no_curve(
        self, fastsa: Fastsa, filled: Filled, place: Path
    ) -> None:
        fastsa("curve", filled.profile_id, *LITTLE)
        first = next(id for id, curve in self.stored(place) if curve)
        assert fastsa("rm", "--yes", first).returncode == 0
        assert {curve for _, curve in self.stored(place)} == {None}
