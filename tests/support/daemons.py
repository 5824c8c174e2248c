"""Daemons of one store, each a process that is gone with its test."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fastsa.daemon import client, protocol
from support.commands import run_in_process
from support.fork_server import ONE_THREAD, Done, ForkServer, Program
from support.paths import INSTALLED
from support.sandbox import environment, with_scripts

HANG_SECONDS = 120.0
NO_STATUS = protocol.DaemonStatus(0, "", "", 0.0, 0, {})


def wait_for(true: Callable[[], object]) -> None:
    """Look again and again until it is true."""
    deadline = time.monotonic() + HANG_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Daemon:
    """A process that runs `fastsa daemon run`."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._code: int | None = None
        self.pid = program.pid

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        if self._code is None:
            self._code = self._program.wait(HANG_SECONDS)
        return self._code

    def kill(self) -> None:
        """End it at once, and wait until it has ended."""
        if self._code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def send_signal(self, number: int) -> None:
        """Send a signal to it."""
        self._program.send_signal(number)

    @property
    def said(self) -> str:
        """What it has written on stderr."""
        return self._program.read(self._program.stderr)

    @property
    def workers(self) -> list[int]:
        """Process numbers of its workers; none if it has ended."""
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii")
        except (FileNotFoundError, ProcessLookupError):
            return []
        return [int(word) for word in text.split()]


class Daemons:
    """Daemons of one store, in a runtime folder of their own."""

    def __init__(self, folder: Path, server: ForkServer) -> None:
        self.folder = folder
        self.store = folder / "store.db"
        self.runtime = folder / "run"
        self.daemons: list[Daemon] = []
        self._server = server

    def begin(self, *options: str) -> Daemon:
        """Start a daemon, and go on."""
        arguments = ["daemon", "run", "--search-time", "0.2", *options]
        daemon = Daemon(self._start(arguments))
        self.daemons.append(daemon)
        return daemon

    def start(self, *options: str) -> Daemon:
        """Start a daemon; it answers when this is over."""
        daemon = self.begin(*options)
        wait_for(lambda: self.status().process == daemon.pid)
        return daemon

    def job(self, *arguments: str) -> Done:
        """What `fastsa ARGUMENTS` does in a process of its own."""
        return self._start(with_scripts(arguments)).done(HANG_SECONDS)

    def _start(self, arguments: list[str]) -> Program:
        env = environment(self.store, **ONE_THREAD, XDG_RUNTIME_DIR=str(self.runtime))
        return self._server.start([INSTALLED, *arguments], env, self.folder)

    def fastsa(self, *arguments: str) -> Done:
        """What `fastsa ARGUMENTS` does, in this process."""
        return run_in_process(self.store, *arguments, XDG_RUNTIME_DIR=str(self.runtime))

    def status(self) -> protocol.DaemonStatus:
        """What the daemon says of itself."""
        answer = client.ask(self.store, protocol.AskStatus())
        return answer if isinstance(answer, protocol.DaemonStatus) else NO_STATUS

    def end(self) -> None:
        """End all, and their workers."""
        for daemon in self.daemons:
            left = daemon.workers
            daemon.kill()
            for worker in left:
                with suppress(ProcessLookupError):  # it goes with its daemon
                    os.kill(worker, signal.SIGKILL)
