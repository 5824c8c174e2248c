"""A store of its own, and the ways to run the commands and the scripts of tests/scripts on it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from fastsa.cache.store import Store
from support.fork_server import ONE_THREAD, Done, ForkServer, Program
from support.paths import INSTALLED, SCRIPTS


def kept_environment() -> dict[str, str]:
    """What every process needs, and what coverage.py needs to see it."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME"} or name.startswith("COVERAGE_")
    }


def environment(store: Path, **more: str) -> dict[str, str]:
    """What a process gets of this one's environment, and a store."""
    return {
        **kept_environment(),
        "FASTSA_STORE": str(store),
        "FASTSA_CONFIG": "",
        "PYTHONUTF8": "1",
        **more,
    }


def with_scripts(arguments: Sequence[str]) -> list[str]:
    """Arguments in which a script of tests/scripts is found by its name."""
    return [
        str(SCRIPTS / each)
        if each.endswith(".py") and not Path(each).is_absolute() and (SCRIPTS / each).exists()
        else each
        for each in arguments
    ]


class CliSandbox:
    """A store, a folder, and processes that know of nothing else."""

    def __init__(self, folder: Path, server: ForkServer) -> None:
        self.folder = folder
        self.server = server
        self.place = folder / "store.db"

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of its processes."""
        return environment(self.place, **ONE_THREAD, **more)

    def plain(self, script: str, *arguments: str, **more: str) -> Done:
        """What `python SCRIPT ARGUMENTS` does."""
        return self.start(SCRIPTS / script, *arguments, **more).done()

    def fastsa(self, *arguments: str, **more: str) -> Done:
        """What `fastsa ARGUMENTS` does; a script among them is found by its name."""
        return self.start(INSTALLED, *with_scripts(arguments), **more).done()

    def start(
        self, program: Path, *arguments: str, stderr: int | None = None, **more: str
    ) -> Program:
        """Start a program, and go on; what it says on stderr may go to a descriptor."""
        env = self.environment(**more)
        return self.server.start([program, *arguments], env, self.folder, stderr)

    def copy_store(self, other: CliSandbox) -> None:
        """Begin with what is in the store of another."""
        with (
            closing(sqlite3.connect(other.place)) as there,
            closing(sqlite3.connect(self.place)) as here,
        ):
            there.backup(here)

    @property
    def counters(self) -> dict[str, int]:
        """The store's counters."""
        with Store.open(self.place) as store:
            return store.counters()

    def kinds(self) -> list[str]:
        """The kind of each thing in the store."""
        with Store.open(self.place) as store:
            return [row.kind for row in store.list_items()]


def steps(done: Done) -> list[str]:
    """The lines of a script that are to be the same to the last bit."""
    return [line for line in done.stdout.splitlines() if line.startswith("step ")]
