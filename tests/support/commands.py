"""Commands in this process, a store with one of everything, and what the tests ask of both."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from fastsa.cache.store import Store
from fastsa.cli.errors import run_command
from fastsa.cli.main import group
from support import builders
from support.fork_server import Done
from support.sandbox import environment

Fastsa = Callable[..., Done]

HOSTILE = "[red]evil\x1b[2J</b>\u202e 模型"


class _Output(io.TextIOWrapper):
    """Text, encoded as a process's output is."""

    def __init__(self, encoding: str, errors: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors=errors, write_through=True)

    def text(self) -> str:
        """All that was written."""
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode("utf-8")


def run_in_process(store: Path, *arguments: str, **more: str) -> Done:
    """What `fastsa ARGUMENTS` does, in this process: its output, its errors and its exit code.

    Pipes, signals and a script's own end are the matter of the few tests with a process.
    """
    encoding = more.get("PYTHONIOENCODING", "utf-8")
    out, err = _Output(encoding, "strict"), _Output(encoding, "backslashreplace")
    argv = ["fastsa", *arguments]
    with (
        mock.patch.dict(os.environ, environment(store, **more), clear=True),
        mock.patch.multiple(sys, argv=argv, stdin=io.StringIO()),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            run_command(group, arguments)
        except SystemExit as ending:
            code = ending.code
    assert isinstance(code, int)
    return Done(argv, code, out.text(), err.text())


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
        """By kind."""
        return {
            "profile": self.profile_id,
            "graph": self.graph_id,
            "plan": self.plan_id,
            "run": self.run_id,
            "verdict": self.verdict_id,
        }


def only_json(done: Done) -> Any:
    """What a command that prints nothing but JSON has printed."""
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)
