"""What the tests of the commands share: an environment, a store with one of everything, a desk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "cache"))

import builders

from fastsa.cache.store import Store

Done = subprocess.CompletedProcess[str]
Fastsa = Callable[..., Done]
INSTALLED = Path(sys.executable).parent / "fastsa"
SCRIPTS = Path(__file__).parent.parent / "scripts"

# Several get into each other's way when the machine is busy.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}

HOSTILE = "[red]evil\x1b[2J</b>\u202e 模型"


def environment(store: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {
        **kept,
        "FASTSA_STORE": str(store),
        "FASTSA_CONFIG": "",
        "PYTHONUTF8": "1",
        **more,
    }


class Warm:
    """Programs run in processes forked from one that has torch imported (see warm.py)."""

    def __init__(self, scratch: Path, *modules: str) -> None:
        self.scratch = scratch
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).parent / "warm.py", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )

    def run(self, argv: Sequence[str], env: dict[str, str], cwd: Path) -> Done:
        """Like `subprocess.run([sys.executable, *argv])`."""
        assert self.process.stdin
        assert self.process.stdout
        out, err = self.scratch / "stdout", self.scratch / "stderr"
        for file in (out, err):
            file.write_bytes(b"")
        request = {"argv": argv, "env": env, "cwd": str(cwd)}
        request |= {"stdout": str(out), "stderr": str(err)}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        return Done(argv, code, out.read_text("utf-8"), err.read_text("utf-8"))

    def close(self) -> None:
        self.process.communicate()


class Desk:
    """A store of its own, and the two ways to run a script of tests/scripts: plain and fastsa."""

    def __init__(self, folder: Path, warm: Warm) -> None:
        self.folder = folder
        self.warm = warm
        self.place = folder / "store.db"

    def environment(self, **more: str) -> dict[str, str]:
        return environment(self.place, **ONE_THREAD, **more)

    def plain(self, script: str, *arguments: str) -> Done:
        """What `python SCRIPT ARGUMENTS` does."""
        argv = [str(SCRIPTS / script), *arguments]
        return self.warm.run(argv, self.environment(), self.folder)

    def fastsa(self, *arguments: str, **more: str) -> Done:
        """What `fastsa ARGUMENTS` does; a script among them is found by its name."""
        found = [str(SCRIPTS / each) if each.endswith(".py") else each for each in arguments]
        return self.warm.run([str(INSTALLED), *found], self.environment(**more), self.folder)

    @property
    def counters(self) -> dict[str, int]:
        with Store.open(self.place) as store:
            return store.counters()

    def kinds(self) -> list[str]:
        """The kind of each thing in the store."""
        with Store.open(self.place) as store:
            return [row.kind for row in store.list_items()]


def steps(done: Done) -> list[str]:
    """The lines of a script that are to be the same to the last bit."""
    return [line for line in done.stdout.splitlines() if line.startswith("step ")]


class Filled:
    """Ids of one of everything, hanging together, and of a profile with two regions."""

    def __init__(self, store: Store) -> None:
        self.graph = builders.graph()
        self.key = builders.key(self.graph)
        self.plan = builders.plan(self.graph)
        self.profile = builders.profile(self.graph)
        self.profile_id = store.add_profile(self.profile)
        self.graph_id = self.graph.hash().removeprefix("sha256:")
        self.plan_id = store.add_plan(self.plan, self.key)
        self.run = builders.run(self.plan_id)
        self.run_id = store.add_run(self.run)
        self.verdict_id = store.add_verdict(builders.verdict(self.plan_id))
        self.two_regions = builders.profile(
            builders.graph(5, name=HOSTILE), builders.graph(4), model=HOSTILE
        )
        self.two_regions_id = store.add_profile(self.two_regions)

    @property
    def ids(self) -> dict[str, str]:
        return {
            "profile": self.profile_id,
            "graph": self.graph_id,
            "plan": self.plan_id,
            "run": self.run_id,
            "verdict": self.verdict_id,
        }


def only_json(done: Done) -> Any:
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)
