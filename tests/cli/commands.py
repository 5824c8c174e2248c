"""What the tests of the commands share: an environment, and a store with one of everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "cache"))

import builders

from fastsa.cache.store import Store

Done = subprocess.CompletedProcess[str]
Fastsa = Callable[..., Done]

HOSTILE = "[red]evil\x1b[2J</b>\u202e 模型"


def environment(store: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "FASTSA_STORE": str(store), "PYTHONUTF8": "1", **more}


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
        }


def only_json(done: Done) -> Any:
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)
