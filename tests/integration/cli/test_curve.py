"""`fastsa curve`: a table, a file, a picture, and plans that jobs of any budget find."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import torch

from fastsa.cache.store import Store
from fastsa.planner import curve as curves
from fastsa.planner import graph as graphs
from fastsa.planner.curve import Curve
from fastsa.planner.plan import Plan
from fastsa.planner.validation import validate
from fastsa.profiler.generators import state_bytes
from support import builders
from support.commands import Fastsa, Filled, only_json
from support.paths import GRAPHS
from support.sandbox import CliSandbox, environment

GPT2 = GRAPHS / "gpt2_eager.graph.json.gz"
STATES = 64 * 1024  # bytes: more than the states of the generators that plain.py draws from
LITTLE = ("--iterations", "300", "--points", "6")


def files(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


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
        ("name", "begins"), [("curve.svg", b"<?xml"), ("curve.png", b"\x89PNG")]
    )
    def test_a_picture(
        self, fastsa: Fastsa, chain: Path, tmp_path: Path, name: str, begins: bytes
    ) -> None:
        picture = tmp_path / name
        done = fastsa("curve", "--graph", str(chain), *LITTLE, "--picture", str(picture))
        assert done.returncode == 0, done.stderr
        drawn = picture.read_bytes()
        assert drawn.startswith(begins)
        again = fastsa("curve", "--graph", str(chain), *LITTLE, "--picture", str(picture))
        assert again.returncode == 0
        assert picture.read_bytes() == drawn

    def test_a_graph_of_nothing(self, fastsa: Fastsa, tmp_path: Path) -> None:
        path = tmp_path / "empty.json"
        bare = msgspec.structs.replace(
            builders.graph(), values=(), ops=(), outputs=(), segments=(), name="$\x1b[2J"
        )
        bare.write(path)
        done = fastsa("curve", "--graph", str(path), "--picture", str(tmp_path / "a.svg"))
        assert done.returncode == 0, done.stderr
        assert "the graph has no ops" in done.stdout
        assert "\x1b" not in done.stdout

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
        self, chain: Path, place: Path, tmp_path: Path
    ) -> None:
        code = (
            "import sys; sys.modules['matplotlib'] = None; from fastsa.cli.main import main;"
            f"sys.argv[1:] = ['curve', '--graph', {str(chain)!r}, '--picture', 'a.svg']; main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment(place),
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert "pip install 'fastsa[plots]'" in done.stderr

    def test_help_imports_nothing_heavy(self, place: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "fastsa", "curve", "--help"],
            env=environment(place),
            capture_output=True,
            text=True,
        )
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert not imported & {"torch", "rich", "matplotlib", "fastsa.planner._core"}

    def test_a_terminal_sees_progress(self, chain: Path, place: Path) -> None:
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "fastsa", "curve", "--graph", GPT2, "--time-limit", "1"],
            stdout=subprocess.DEVNULL,
            stderr=follower,
            env=environment(place, TERM="xterm", COLUMNS="120"),
        )
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
        os.close(leader)
        assert process.wait(timeout=20) == 0
        assert b"planning" in shown


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

    def test_ctrl_c_keeps_what_there_is(self, place: Path, tmp_path: Path) -> None:
        profile = builders.profile(graphs.read(GPT2))
        with Store.open(place) as store:
            profile_id = store.add_profile(profile)
        output = tmp_path / "curve.json"
        arguments = ["curve", profile_id, "--time-limit", "300", "--output", str(output)]
        with subprocess.Popen(
            [sys.executable, "-m", "fastsa", *arguments],
            env=environment(place),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A background job's children ignore Ctrl-C, and so would this one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            time.sleep(4)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "cut short" in stdout
        assert "not as a curve" in stderr
        assert "these are the plans so far" in stderr
        assert not curves.read(output).complete
        assert {curve for _, curve in self.stored(place)} == {None}


def made_curve(sandbox: CliSandbox) -> Curve:
    """The curve of tests/scripts/plain.py, measured and stored."""
    profiled = sandbox.fastsa("profile", "plain.py")
    assert profiled.returncode == 0, profiled.stderr
    (profile_id,) = re.findall(r"profile (\w{12}) of", profiled.stdout + profiled.stderr)
    output = sandbox.folder / "curve.json.gz"
    done = sandbox.fastsa("curve", profile_id, "--time-limit", "2", "-o", str(output))
    assert done.returncode == 0, done.stderr
    return curves.decode(gzip.decompress(output.read_bytes()))


@pytest.fixture(scope="module")
def curved(sandboxes: Callable[[], CliSandbox]) -> tuple[CliSandbox, Curve, int]:
    """A store with a curve, that curve, and the bytes resident in its job."""
    sandbox = sandboxes()
    found = made_curve(sandbox)
    with Store.open(sandbox.place) as store:
        (row,) = store.list_items("profile")
        return sandbox, found, store.profile(row.id).resident_beside_graph


class TestJobs:
    """With a curve stored, a job of any budget between its ends plans nothing."""

    def run(self, sandbox: CliSandbox, budget: int) -> tuple[str, str]:
        """Whether the job's plan was found or made, and which it is."""
        done = sandbox.fastsa("run", "--budget", str(budget), "--time-limit", "0.5", "plain.py")
        assert done.returncode == 0, done.stderr
        ((origin, plan_id),) = re.findall(r"^fastsa: plan (found|made) (\w+): ", done.stderr, re.M)
        return origin, plan_id

    @pytest.mark.parametrize("place", [0.1, 0.35, 0.6, 0.85, 1.0])
    def test_a_budget_between_its_ends(
        self, curved: tuple[CliSandbox, Curve, int], place: float
    ) -> None:
        sandbox, found, resident = curved
        first, last = found.plans[0], found.plans[-1]
        local = int(first.budget_bytes - place * (first.budget_bytes - last.budget_bytes))
        before = len(sandbox.kinds())
        # Beside its plan a job has states of generators to fit.
        origin, plan_id = self.run(sandbox, resident + local + STATES)
        assert origin == "found"
        with Store.open(sandbox.place) as store:
            used = store.plan(store.resolve(plan_id).id)
            graph = store.known_graph(used.graph)

        def fits(each: Plan) -> bool:
            states = state_bytes(graph, each.sequence, torch.device("cpu"))
            return each.peak_bytes + states <= local + STATES

        assert fits(used)
        assert used.seconds == min(each.seconds for each in found.plans if fits(each))
        assert len(sandbox.kinds()) == before + 1, "the run, and no plan"

    def test_the_curve_of_an_earlier_measurement_is_passed_over(self, sandbox: CliSandbox) -> None:
        first = made_curve(sandbox)
        second = made_curve(sandbox)
        assert first.base_seconds != second.base_seconds
        with Store.open(sandbox.place) as store:
            latest = store.profile(store.list_items("profile")[0].id)
        middle = (second.plans[0].budget_bytes + second.plans[-1].budget_bytes) // 2
        origin, plan_id = self.run(sandbox, latest.resident_beside_graph + middle)
        assert origin == "found"
        with Store.open(sandbox.place) as store:
            used = store.plan(store.resolve(plan_id).id)
        assert used.base_seconds == second.base_seconds

    def test_a_gap_is_planned_again(self, curved: tuple[CliSandbox, Curve, int]) -> None:
        """Of a curve that lost its upper plans, what is left must not slow every job."""
        sandbox, found, resident = curved
        last = found.plans[-1]
        with closing(sqlite3.connect(sandbox.place)) as connection:
            doomed = connection.execute(
                "SELECT id FROM plans WHERE peak_bytes > ?", [last.peak_bytes]
            ).fetchall()
        removed = sandbox.fastsa("rm", "--yes", *(id for (id,) in doomed))
        assert removed.returncode == 0
        middle = (found.plans[0].budget_bytes + last.budget_bytes) // 2
        assert self.run(sandbox, resident + middle)[0] == "made"
