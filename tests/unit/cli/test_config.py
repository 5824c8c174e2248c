"""Settings: which value counts, where it comes from, and what is said of mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastsa import config
from fastsa.errors import BadInput
from support.commands import only_json, run_in_process
from support.fork_server import Done


@pytest.fixture
def fastsa(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run a command in a project of its own, with a user file of its own."""
    inner = tmp_path / "project" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)

    def run(*arguments: str, project: str = "", user: str = "", **more: str) -> Done:
        file = tmp_path / "project" / "pyproject.toml"
        file.write_text(f"[tool.fastsa]\n{project}" if project else "")
        file = tmp_path / "user.toml"
        file.write_text(user)
        return run_in_process(place, *arguments, **{"FASTSA_CONFIG": str(file), **more})

    return run


def values(done: Done) -> dict[str, tuple[Any, str]]:
    found = only_json(done)["settings"]
    return {name: (each["value"], Path(each["source"]).name) for name, each in found.items()}


Run = Callable[..., Done]


class TestOrder:
    def test_defaults(self, fastsa: Run, place: Path) -> None:
        found = values(fastsa("config", "--json"))
        assert found.pop("store") == (str(place), "FASTSA_STORE")
        assert {source for _, source in found.values()} == {"default"}
        assert found["time_limit"] == (5.0, "default")

    def test_each_comes_before_the_next(self, fastsa: Run) -> None:
        user = "threads = 2\nseed = 2\ntime_limit = 2"
        project = "threads = 3\nseed = 3"
        found = values(fastsa("config", "--json", user=user, project=project, FASTSA_THREADS="4"))
        assert found["threads"] == (4, "FASTSA_THREADS")
        assert found["seed"] == (3, "pyproject.toml")
        assert found["time_limit"] == (2.0, "user.toml")

    def test_a_flag_comes_first(self, fastsa: Run, place: Path) -> None:
        graph = str(place.with_name("none.json"))
        done = fastsa("plan", "--graph", graph, "--budget", "no%", project='budget = "50%"')
        assert "no%" in done.stderr
        done = fastsa("plan", "--graph", graph, project='budget = "50%"')
        assert "none.json" in done.stderr  # it has a budget

    def test_an_empty_variable_says_nothing(self, fastsa: Run) -> None:
        found = values(fastsa("config", "--json", user="seed = 2", FASTSA_SEED=""))
        assert found["seed"] == (2, "user.toml")

    def test_text(self, fastsa: Run) -> None:
        done = fastsa("config", project="best_effort = true", FASTSA_REMOTE="s3://me:pass@b/x")
        assert "best_effort         true" in done.stdout
        assert "s3://***@b/x" in done.stdout
        assert "pass" not in done.stdout
        assert "pyproject.toml" in done.stdout


@pytest.mark.promise("fault-29", "fault-34")
class TestMistakes:
    @pytest.mark.parametrize(
        ("where", "why"),
        [
            ({"project": "bugdet = 1"}, "pyproject.toml: fastsa has no setting 'bugdet'"),
            ({"project": "threads = 0"}, "pyproject.toml: threads 0: it must be a whole number"),
            ({"project": "threads = true"}, "threads True: it must be a number"),
            ({"project": "threads = [1]"}, "threads [1]: it must be a number"),
            ({"project": "budget = 'half'"}, "budget 'half'"),
            ({"project": "time_limit = nan"}, "time_limit nan: it must be a number of seconds"),
            ({"project": "store = 'x.db'"}, "store is the user's to say, not a project's"),
            ({"project": "remote = '/tmp'"}, "remote is the user's to say, not a project's"),
            ({"project": "daemon.threads = 2"}, "daemon.threads is the user's to say"),
            ({"project": "threads ="}, "pyproject.toml: Invalid value"),
            ({"user": "= 1"}, "user.toml: "),
            ({"user": "[daemon]\nmemory = '50%'"}, "daemon.memory '50%': it must be a size"),
            ({"FASTSA_REMOTE": "a/folder"}, "FASTSA_REMOTE: 'a/folder': a folder must be given"),
            ({"FASTSA_SEED": "x"}, "FASTSA_SEED: 'x': it must be a number"),
            ({"FASTSA_BEST_EFFORT": "maybe"}, "FASTSA_BEST_EFFORT: 'maybe'"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("command", [("config",), ("run", "tiny.py")], ids=" ".join)
    def test_one_line(
        self, fastsa: Run, command: tuple[str, ...], where: dict[str, str], why: str
    ) -> None:
        done = fastsa(*command, **where)
        assert done.returncode == 2
        assert why in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""

    def test_commands_that_need_none(self, fastsa: Run) -> None:
        assert fastsa("--help", project="nonsense = 1").returncode == 0
        assert fastsa("list", project="nonsense = 1").returncode == 0

    def test_one_says_nothing_of_another(self, fastsa: Run) -> None:
        assert fastsa("list", FASTSA_REMOTE="no/folder", FASTSA_SEED="x").returncode == 0

    def test_text_cannot_steer(self, fastsa: Run) -> None:
        done = fastsa("config", FASTSA_REMOTE="/a\nb\x1b[2J")
        assert "\x1b" not in done.stdout
        assert "'/a\\nb\\x1b[2J'" in done.stdout

    def test_a_store_that_the_user_file_cannot_name(self, fastsa: Run) -> None:
        done = fastsa("list", user="store = 7", FASTSA_STORE="")
        assert done.returncode == 4
        assert "user.toml: store 7: it must be text" in done.stderr


class TestUse:
    def test_the_store_of_the_user_file(self, fastsa: Run, place: Path) -> None:
        place = place.with_name("elsewhere.db")
        done = fastsa("store", "info", "--json", user=f"store = '{place}'", FASTSA_STORE="")
        assert json.loads(done.stdout)["path"] == str(place)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(config.SETTINGS), given_=st.text() | st.integers() | st.floats())
def test_every_value_is_read_or_refused(name: config.Setting, given_: Any) -> None:
    try:
        found = name.read(given_)
    except (ValueError, BadInput):
        return
    assert found == name.read(found)
