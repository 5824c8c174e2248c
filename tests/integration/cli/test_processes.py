"""The commands as cold processes: start-up, imports, exit codes, pipes, terminals and signals.

What they print and store is tested in this process: see tests/unit/cli.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastsa.cache.store import Store
from fastsa.planner import curve as curves
from fastsa.planner import graph as graphs
from fastsa.planner import plan as plans
from fastsa.planner.validation import validate
from support import builders
from support.commands import Filled
from support.paths import GRAPHS, INSTALLED
from support.sandbox import environment

COMMAND = [sys.executable, "-m", "fastsa"]
GPT2 = GRAPHS / "gpt2_eager.graph.json.gz"
HEAVY = {"torch", "rich", "matplotlib", "fastsa.planner._core"}
LONG = "600"  # seconds: a search that ends because it is told to
HANG = 120  # seconds


def interruptible() -> None:
    """A background job's children ignore Ctrl-C, and so would this one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


class Terminal:
    """The other end of a pseudo terminal."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.shown = b""

    def read(self) -> bool:
        """Wait for more; whether there was any."""
        try:
            part = os.read(self.descriptor, 4096)
        except OSError:  # the other end is closed
            return False
        self.shown += part
        return bool(part)

    def wait_for(self, words: bytes) -> None:
        """Until the words are shown."""
        while words not in self.shown:
            assert self.read(), f"{words!r} never came: {self.shown!r}"


@contextmanager
def terminal() -> Iterator[tuple[Terminal, int]]:
    """Our end, and the one for a process; that one must be closed here for the end to be seen."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    try:
        yield Terminal(leader), follower
    finally:
        os.close(leader)


class Interrupted:
    """A command that gets a Ctrl-C as soon as its progress bar shows some words."""

    def __init__(self, place: Path, words: bytes, *arguments: str | Path) -> None:
        with (
            terminal() as (seen, follower),
            subprocess.Popen(
                [*COMMAND, *arguments],
                env=environment(place, TERM="xterm"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=follower,
                text=True,
                preexec_fn=interruptible,
            ) as process,
        ):
            os.close(follower)
            seen.wait_for(words)
            process.send_signal(signal.SIGINT)
            while seen.read():  # a full terminal would stop it
                continue
            self.stdout, _ = process.communicate(timeout=HANG)
        self.returncode = process.returncode
        self.stderr = seen.shown.decode()


def imported(place: Path, *arguments: str) -> set[str]:
    """Every module that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "fastsa", *arguments],
        env=environment(place),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


class TestStart:
    def test_installed_command(self, place: Path) -> None:
        done = subprocess.run(
            [INSTALLED, "--version"], env=environment(place), capture_output=True, text=True
        )
        assert done.stdout == f"fastsa, version {importlib.metadata.version('fastsa')}\n"

    def test_help_imports_nothing_heavy(self, place: Path) -> None:
        """So that it is at once."""
        found = imported(place, "--help")
        assert "click" in found
        assert not found & {*HEAVY, "numpy", "msgspec", "sqlite_utils"}

    @pytest.mark.parametrize("command", ["plan", "curve"])
    def test_help_of_a_command(self, place: Path, command: str) -> None:
        assert not imported(place, command, "--help") & HEAVY

    @pytest.mark.parametrize("arguments", [["list"], ["list", "--json"]], ids=" ".join)
    def test_inspecting_imports_no_torch(self, place: Path, arguments: list[str]) -> None:
        found = imported(place, *arguments)
        assert not found & {"torch", "sqlite_utils"}
        assert ("rich" in found) == (arguments == ["list"])

    def test_explaining_imports_no_torch(self, place: Path, filled: Filled) -> None:
        found = imported(place, "explain", filled.graph_id, "--json")
        assert not found & {"torch", "sqlite_utils", "rich"}

    @pytest.mark.parametrize("what", ["memory-viz", "chrome-trace", "csv"])
    def test_exporting_imports_no_torch(
        self, place: Path, filled: Filled, tmp_path: Path, what: str
    ) -> None:
        arguments = ("export", filled.profile_id, "--what", what, "-o", str(tmp_path / "out"))
        assert not {"torch", "numpy"} & imported(place, *arguments)


class TestPipes:
    @pytest.mark.promise("fault-30")
    def test_a_reader_that_leaves(self, place: Path, filled: Filled) -> None:
        done = subprocess.run(
            [f"{sys.executable} -m fastsa show {filled.graph_id} | head -c 1"],
            env=environment(place),
            shell=True,
            capture_output=True,
            text=True,
        )
        assert done.stderr == ""

    def test_an_unwritable_stdout(self, place: Path, filled: Filled) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [*COMMAND, "list"],
                env=environment(place),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert done.returncode == 1
        assert "No space left" in done.stderr
        assert "Traceback" not in done.stderr

    def test_memory_viz_in_a_pipe(self, place: Path, filled: Filled) -> None:
        done = subprocess.run(
            [*COMMAND, "export", filled.profile_id, "--what", "memory-viz"],
            env=environment(place),
            capture_output=True,
        )
        assert (done.returncode, done.stderr, done.stdout[-1:]) == (0, b"", b".")


class TestTerminal:
    def test_no_pickle(self, place: Path, filled: Filled) -> None:
        with terminal() as (_, follower):
            done = subprocess.run(
                [*COMMAND, "export", filled.profile_id, "--what", "memory-viz"],
                env=environment(place),
                stdout=follower,
                stderr=subprocess.PIPE,
                text=True,
            )
            os.close(follower)
        assert done.returncode == 2
        assert "Name a file with --output" in done.stderr

    def test_list(self, place: Path, filled: Filled) -> None:
        with terminal() as (seen, follower):
            done = subprocess.run(
                [*COMMAND, "list"],
                env=environment(place, TERM="xterm"),
                stdout=follower,
                stderr=subprocess.PIPE,
            )
            os.close(follower)
            while seen.read():
                continue
        assert (done.returncode, done.stderr) == (0, b"")
        assert filled.plan_id[:12].encode() in seen.shown

    @pytest.mark.parametrize(("answer", "code"), [(b"n\n", 1), (b"y\n", 0)])
    def test_asks(self, place: Path, filled: Filled, answer: bytes, code: int) -> None:
        with terminal() as (seen, follower):
            os.write(seen.descriptor, answer)
            done = subprocess.run(
                [*COMMAND, "rm", filled.plan_id],
                env=environment(place),
                stdin=follower,
                capture_output=True,
                text=True,
            )
            os.close(follower)
        assert done.returncode == code
        assert "Remove 1 plan, 1 run, 1 verdict? [y/N]: " in done.stdout
        with Store.open(place) as store:
            assert bool(store.list_items("plan")) == (code == 1)


class TestCtrlC:
    def test_at_a_question(self, place: Path, filled: Filled) -> None:
        with terminal() as (seen, follower):
            with subprocess.Popen(
                [*COMMAND, "rm", filled.run_id],
                env=environment(place),
                stdin=follower,
                stdout=follower,
                stderr=follower,
                preexec_fn=interruptible,
            ) as process:
                seen.wait_for(b"Remove 1 run?")
                while not is_asleep(process.pid):  # in the read: before, Python only notes it
                    time.sleep(0.01)
                process.send_signal(signal.SIGINT)
                process.wait(timeout=HANG)
            os.close(follower)
        assert process.returncode == 130

    @pytest.mark.promise("fault-30")
    def test_ctrl_c_keeps_the_best_so_far(self, place: Path, tmp_path: Path) -> None:
        output = tmp_path / "plan.json"
        arguments = ("--graph", GPT2, "--budget", "50%", "--output", output, "--time-limit", LONG)
        # Until then the best is over the budget.
        done = Interrupted(place, b"iB \xc2\xb7", "plan", *arguments)
        assert done.returncode == 130
        assert "planning" in done.stderr
        assert "best plan so far" in done.stderr
        assert "feasible" in done.stdout
        plan = plans.read(output)
        validate(graphs.read(GPT2), plan)
        assert plan.fits

    def test_an_explanation_prints_what_there_is(self, place: Path) -> None:
        arguments = ("explain", "--graph", GPT2, "--time-limit", LONG)
        done = Interrupted(place, b"planning", *arguments)
        assert done.returncode == 130
        assert "The unplanned peak of" in done.stdout
        assert "interrupted" in done.stderr

    def test_a_curve_keeps_what_there_is(self, place: Path, tmp_path: Path) -> None:
        with Store.open(place) as store:
            profile_id = store.add_profile(builders.profile(graphs.read(GPT2)))
        output = tmp_path / "curve.json"
        arguments = ("curve", profile_id, "--time-limit", LONG, "--output", output)
        done = Interrupted(place, b"planning", *arguments)
        assert done.returncode == 130
        assert "cut short" in done.stdout
        said = " ".join(done.stderr.split())
        assert "not as a curve" in said
        assert "these are the plans so far" in said
        assert not curves.read(output).complete
        with Store.open(place) as store:
            assert {row.curve for row in store.list_items("plan")} <= {None}
