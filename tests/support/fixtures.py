"""Fixtures of all tests: a server of processes, sandboxes, stores, and commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastsa.cache.store import Store
from support.commands import Fastsa, Filled, run_in_process
from support.fork_server import FRAMEWORKS, Done, ForkServer
from support.sandbox import CliSandbox, environment


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def framework_server() -> Iterator[ForkServer]:
    """With transformers, Lightning and Accelerate imported."""
    server = ForkServer(*FRAMEWORKS)
    yield server
    server.close()


@pytest.fixture(scope="session")
def sandboxes(
    fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], CliSandbox]:
    """Makes sandboxes, for fixtures of a wider scope."""
    return lambda: CliSandbox(tmp_path_factory.mktemp("sandbox"), fork_server)


@pytest.fixture
def sandbox(sandboxes: Callable[[], CliSandbox]) -> CliSandbox:
    return sandboxes()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / "store.db"


@pytest.fixture
def fastsa(place: Path) -> Fastsa:
    """Run a command in this process, on the store at `place`."""
    return lambda *arguments, **more: run_in_process(place, *arguments, **more)


@pytest.fixture
def fastsa_process(place: Path) -> Fastsa:
    """Run `python -m fastsa` in a cold process, on the store at `place`."""

    def run(*arguments: str, **more: str) -> Done:
        return subprocess.run(
            [sys.executable, "-m", "fastsa", *arguments],
            env=environment(place, **more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
        )

    return run


@pytest.fixture
def filled(place: Path) -> Filled:
    with Store.open(place) as store:
        return Filled(store)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store may be made, in a folder that is yet to be made."""
    return tmp_path / "place" / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield opened
