"""The real commands, in real processes, on a store of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commands import Done, Fastsa, Filled, environment

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
