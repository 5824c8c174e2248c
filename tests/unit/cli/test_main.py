"""Commands, options, exit codes, and what becomes of errors."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from fastsa.cli import main
from support.commands import Fastsa

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
