"""Runs programs in processes forked from one that has imported torch: each saves seconds.

A child is as good as new: torch has computed nothing in it. It runs its program as `__main__` to
its exit code, with functions at exit; only the interpreter's own finalization is left out. What
starts cold is tested in the few tests of cold starts.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from support.paths import SUPPORT

Done = subprocess.CompletedProcess[str]

# Several threads of several programs get into each other's way on a busy machine.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
LONGEST = 600.0  # seconds that a program may take: as long as a hang is waited for

FRAMEWORKS = (
    "accelerate",
    "lightning",
    "transformers.models.bert.modeling_bert",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
    "transformers.models.t5.modeling_t5",
    "transformers.models.vit.modeling_vit",
    "transformers.trainer",
)


@dataclass
class Program:
    """A program that runs in a child of the server."""

    argv: list[str]
    connection: socket.socket
    pid: int
    stdout: IO[bytes]
    stderr: IO[bytes]

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, which has not been waited for."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = LONGEST) -> int:
        """The exit code as `subprocess` has it; the process is killed when time is out."""
        self.connection.settimeout(seconds)
        try:
            code = int(self.connection.makefile().readline())
        except TimeoutError:
            self.send_signal(signal.SIGKILL)
            raise AssertionError(f"hangs: {self.argv}\n{self.read(self.stderr)}") from None
        finally:
            self.connection.close()
        return code

    def done(self, seconds: float = LONGEST) -> Done:
        """What it did, when it has ended."""
        code = self.wait(seconds)
        return Done(self.argv, code, self.read(self.stdout), self.read(self.stderr))

    @staticmethod
    def read(file: IO[bytes]) -> str:
        """What was written to one of the program's files so far."""
        file.seek(0)
        return file.read().decode("utf-8")


class ForkServer:
    """Starts programs; `modules` are imported once for all of them."""

    def __init__(self, *modules: str) -> None:
        ours, its = socket.socketpair()
        self._socket = ours
        self._process = subprocess.Popen(
            [sys.executable, SUPPORT / "fork_server_main.py", str(its.fileno()), *modules],
            pass_fds=[its.fileno()],
            env={**os.environ, **ONE_THREAD},
        )
        its.close()

    def start(
        self, argv: Sequence[str | Path], env: dict[str, str], cwd: Path, stderr: int | None = None
    ) -> Program:
        """Like `subprocess.Popen([sys.executable, *argv])`, with its output in files.

        Args:
            argv: The program's file and its arguments.
            env: All of its environment.
            cwd: Its folder.
            stderr: A descriptor in place of a file of its own.
        """
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  read later
        ours, its = socket.socketpair()
        request = {"argv": [str(each) for each in argv], "env": env, "cwd": str(cwd)}
        message = json.dumps(request).encode()
        descriptors = [its.fileno(), out.fileno(), err.fileno() if stderr is None else stderr]
        socket.send_fds(self._socket, [len(message).to_bytes(8, "big")], descriptors)
        self._socket.sendall(message)
        its.close()
        pid = int.from_bytes(ours.recv(8, socket.MSG_WAITALL), "big")
        return Program(request["argv"], ours, pid, out, err)  # type: ignore[arg-type]

    def run(self, argv: Sequence[str | Path], env: dict[str, str], cwd: Path) -> Done:
        """Like `subprocess.run([sys.executable, *argv])`."""
        return self.start(argv, env, cwd).done()

    def close(self) -> None:
        """End the server; programs that still run go on."""
        self._socket.close()
        self._process.wait()
