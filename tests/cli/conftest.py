"""The real commands, in real processes, on a store of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import Desk, Done, Fastsa, Filled, Warm, environment

from fastsa.cache.store import Store


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def fastsa(place: Path) -> Fastsa:
    """Run `python -m fastsa` and return what it did."""

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


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    made = Warm(tmp_path_factory.mktemp("warm"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def desks(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Desk]:
    """Makes desks, for fixtures of a wider scope."""
    return lambda: Desk(tmp_path_factory.mktemp("desk"), warm)


@pytest.fixture
def desk(desks: Callable[[], Desk]) -> Desk:
    return desks()
