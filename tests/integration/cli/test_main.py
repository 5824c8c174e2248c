"""Start-up, exit codes, and what becomes of errors."""

from __future__ import annotations

import importlib.metadata
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from fastsa.cli import main
from support.commands import Fastsa, Filled
from support.sandbox import environment

INSTALLED = Path(sys.executable).parent / "fastsa"
HEAVY = {"torch", "rich", "sqlite_utils", "numpy", "msgspec", "fastsa.planner._core"}

# What people's scripts rely on: adding is a decision, taking away a break.
OPTIONS = {
    "profile": {"--continue", "--cupy-on-torch", "--rank", "--store", "-m"},
    "run": {
        "--budget",
        "--time-limit",
        "--threads",
        "--seed",
        "--best-effort",
        "--rank-timeout",
        "--cupy-on-torch",
        "--store",
        "-m",
    },
    "check": {
        "--budget",
        "--time-limit",
        "--threads",
        "--seed",
        "--best-effort",
        "--steps",
        "--ops",
        "--json",
        "--cupy-on-torch",
        "--store",
        "-m",
    },
    "plan": {
        "--graph",
        "--budget",
        "--output",
        "-o",
        "--time-limit",
        "--iterations",
        "--seed",
        "--threads",
        "--algorithm",
        "--json",
    },
    "explain": {"--graph", "--plan", "--top", "--time-limit", "--no-what-if", "--json"},
    "curve": {
        "--graph",
        "--points",
        "--output",
        "-o",
        "--time-limit",
        "--iterations",
        "--seed",
        "--threads",
        "--picture",
        "--json",
    },
    "compare": {"--graph", "--budget", "--algorithm", "--time-limit", "--json", "--picture"},
    "list": {"--kind", "--json"},
    "show": {"--json"},
    "report": {"--html", "-o", "--plan"},
    "diff": {"--json"},
    "import": {"--json"},
    "export": {"--output", "-o", "--what", "--region"},
    "rm": {"--yes", "-y"},
    "store": set(),
    "store info": {"--store", "--json"},
    "store check": {"--store", "--repair", "--json"},
    "store gc": {"--store", "--older-than", "--max-size", "--dry-run", "--json"},
    "store vacuum": {"--store"},
    "store export": {"--store"},
    "store import": {"--store", "--json"},
    "store push": {"--store", "--remote"},
    "store pull": {"--store", "--remote"},
    "config": {"--json"},
    "doctor": {"--json"},
    "daemon": set(),
    "daemon run": {
        "--store",
        "--search-time",
        "--threads",
        "--memory",
        "--metrics-file",
        "--only-asked",
        "--log",
    },
    "daemon start": {
        "--store",
        "--search-time",
        "--threads",
        "--memory",
        "--metrics-file",
        "--only-asked",
    },
    "daemon stop": {"--store"},
    "daemon status": {"--store", "--metrics", "--json"},
    "daemon logs": {"--store", "-n"},
    "daemon unit": {"--store"},
    "store stats": {"--store", "--json"},
}


class TestStart:
    def test_help_names_all_commands(self, fastsa: Fastsa) -> None:
        done = fastsa("--help")
        assert done.returncode == 0
        for name in main.COMMANDS:
            assert f"\n  {name} " in done.stdout

    def test_installed_command(self, place: Path) -> None:
        done = subprocess.run(
            [INSTALLED, "--version"], env=environment(place), capture_output=True, text=True
        )
        assert done.stdout == f"fastsa, version {importlib.metadata.version('fastsa')}\n"

    def test_help_imports_nothing_heavy(self, place: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "fastsa", "--help"],
            env=environment(place),
            capture_output=True,
            text=True,
        )
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "click" in imported
        assert not imported & HEAVY

    def test_help_is_quick(self, fastsa: Fastsa) -> None:
        def once() -> float:
            started = time.perf_counter()
            fastsa("--help")
            return time.perf_counter() - started

        assert min(once() for _ in range(5)) < 3  # 0.05 s on an idle machine

    @pytest.mark.parametrize("arguments", [["list"], ["list", "--json"]])
    def test_inspecting_imports_no_torch(self, place: Path, arguments: list[str]) -> None:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "fastsa", *arguments],
            env=environment(place),
            capture_output=True,
            text=True,
        )
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert not imported & {"torch", "sqlite_utils"}
        assert ("rich" in imported) == (arguments == ["list"])

    def test_frozen_commands(self) -> None:
        assert set(main.COMMANDS) == {name for name in OPTIONS if " " not in name}
        for name in main.COMMANDS:
            command = main.group.get_command(click.Context(main.group), name)
            below = command.commands if isinstance(command, click.Group) else {}
            frozen = {each.split()[1] for each in OPTIONS if each.startswith(f"{name} ")}
            assert set(below) == frozen

    @pytest.mark.parametrize("name", OPTIONS)
    def test_frozen_options(self, name: str) -> None:
        command: click.Command | None = main.group
        for word in name.split():
            assert isinstance(command, click.Group)
            command = command.get_command(click.Context(command), word)
        assert command
        options = [each for each in command.params if isinstance(each, click.Option)]
        assert {flag for each in options for flag in each.opts} == OPTIONS[name]
        assert command.help
        assert all(each.help for each in options)


class TestExitCodes:
    @pytest.mark.parametrize(
        "arguments", [["nonsense"], ["--nonsense"], ["list", "--nonsense"], ["show"], ["rm"]]
    )
    def test_usage(self, fastsa: Fastsa, arguments: list[str]) -> None:
        done = fastsa(*arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert "Traceback" not in done.stderr

    def test_bad_input_is_one_line_with_a_way_out(self, fastsa: Fastsa) -> None:
        done = fastsa("show", "abcdef")
        assert done.returncode == 2
        assert done.stderr == (
            "fastsa: nothing in the store begins with abcdef. See 'fastsa list'\n"
        )

    def test_unusable_store(self, fastsa: Fastsa) -> None:
        done = fastsa("list", FASTSA_STORE="/dev/null/store.db")
        assert done.returncode == 4
        assert done.stderr.startswith("fastsa: /dev/null/store.db: the store cannot be opened: ")
        assert done.stderr.count("\n") == 1

    def test_a_damaged_store_is_one_line(self, fastsa: Fastsa, place: Path) -> None:
        place.write_bytes(b"garbage")
        done = fastsa("list")
        assert done.returncode == 0
        assert done.stderr.startswith(f"fastsa: {place} was damaged and is now store.db.damaged-")
        assert done.stderr.count("\n") == 1

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
                [sys.executable, "-m", "fastsa", "list"],
                env=environment(place),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert done.returncode == 1
        assert "No space left" in done.stderr
        assert "Traceback" not in done.stderr

    def test_interrupted(self, place: Path, filled: Filled) -> None:
        """Ctrl-C at a question, on a terminal."""
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "fastsa", "rm", filled.run_id],
            env=environment(place),
            stdin=follower,
            stdout=follower,
            stderr=follower,
            # A background job's children ignore Ctrl-C, and so would this one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        told = b""
        while b"Remove 1 run?" not in told:
            told += os.read(leader, 1000)
        # Between the prompt and the read, Python only notes a Ctrl-C: press until it is heard.
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        process.kill()
        assert process.wait() == 130
        os.close(follower)
        os.close(leader)


SCRIPTED = """
import sys, click
from fastsa.cli.errors import run_command
from fastsa.errors import InfeasibleBudget

def script():
    {script}

@click.command()
def command():
    return script

run_command(command, [])
"""


def run_script(script: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPTED.format(script=script)],
        env={**os.environ, **more},
        capture_output=True,
        text=True,
    )


class TestUsersScript:
    """What a script raises is the script's own."""

    def test_it_ends(self) -> None:
        done = run_script("print('trained')")
        assert (done.returncode, done.stdout, done.stderr) == (0, "trained\n", "")

    def test_exception(self) -> None:
        done = run_script("raise ValueError('mine')")
        assert done.returncode == 1
        assert done.stderr.startswith("Traceback (most recent call last):")
        assert done.stderr.endswith("\nValueError: mine\n")

    @pytest.mark.parametrize("code", [0, 7])
    def test_exit_code(self, code: int) -> None:
        assert run_script(f"sys.exit({code})").returncode == code

    def test_exit_text(self) -> None:
        done = run_script("sys.exit('no data')")
        assert (done.returncode, done.stderr) == (1, "no data\n")

    @pytest.mark.parametrize("error", ["click.ClickException('x')", "EOFError()", "click.Abort()"])
    def test_exceptions_that_click_knows(self, error: str) -> None:
        done = run_script(f"raise {error}")
        assert done.returncode == 1
        assert "Traceback" in done.stderr

    def test_interrupt(self) -> None:
        done = run_script("raise KeyboardInterrupt")
        assert done.returncode == -signal.SIGINT
        assert done.stderr.endswith("KeyboardInterrupt\n")

    def test_its_own_excepthook(self) -> None:
        done = run_script("sys.excepthook = lambda *a: print('hooked'); raise ValueError")
        assert (done.returncode, done.stdout) == (1, "hooked\n")

    def test_an_error_of_fastsa_is_one_line(self) -> None:
        done = run_script("raise InfeasibleBudget('too small', hint='give more')")
        assert (done.returncode, done.stderr) == (3, "fastsa: too small. Give more\n")


class TestBugs:
    CODE = """
import click
from fastsa.cli.errors import run_command

@click.command()
def command():
    raise ZeroDivisionError("oops")

run_command(command, [])
"""

    def test_one_line(self) -> None:
        done = subprocess.run([sys.executable, "-c", self.CODE], capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "this is a bug in fastsa: ZeroDivisionError: oops" in done.stderr

    def test_where(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", self.CODE],
            env={**os.environ, "FASTSA_DEBUG": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "Traceback" in done.stderr
