"""Runs a script on several ranks, with and without fastsa: by torchrun, or as forked processes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastsa.cache.store import Store
from support.fork_server import ONE_THREAD, Done, ForkServer
from support.paths import INSTALLED, SCRIPTS
from support.sandbox import environment

RANK_SCRIPTS = SCRIPTS / "ranks"
TORCHRUN = Path(sys.executable).parent / "torchrun"
SECONDS = 300  # as long as a hang is waited for


@dataclass(frozen=True)
class Ran:
    """What came of it on all ranks."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What the script has printed, in an order that does not depend on who was quicker."""
        return sorted(line for line in self.out.splitlines() if line.startswith("rank "))

    @property
    def warnings(self) -> list[str]:
        return re.findall(r"FastsaWarning: (.*)", self.err)

    @property
    def has_plan(self) -> bool:
        """Whether one rank has spoken for all, of a plan that recomputes."""
        assert self.err.count("fastsa: trained ") == 1
        found = re.findall(r"fastsa: plan made \w+: \w+, ([\d.]+)% extra", self.err)
        return len(found) == 1 and float(found[0]) > 0


@contextmanager
def free_port() -> Iterator[int]:
    """A port to listen at. As long as this is entered, nobody else is given it."""
    with socket.socket(socket.AF_INET6) as bound:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as who listens has it, too
        bound.bind(("", 0))
        yield bound.getsockname()[1]


def forked(
    server: ForkServer, folder: Path, *command: str, ranks: int = 2, store: Path | None = None
) -> Ran:
    """What `torchrun COMMAND` does, without its agent: rank 0 has the store of the ranks."""
    program = [str(INSTALLED), *command[2:]] if command[:2] == ("-m", "fastsa") else command
    with free_port() as port:
        started = [
            server.start(
                _with_scripts(program),
                environment(
                    store or folder / "store.db",
                    **ONE_THREAD,
                    RANK=str(rank),
                    LOCAL_RANK=str(rank),
                    GROUP_RANK="0",
                    ROLE_RANK=str(rank),
                    WORLD_SIZE=str(ranks),
                    LOCAL_WORLD_SIZE=str(ranks),
                    GROUP_WORLD_SIZE="1",
                    ROLE_WORLD_SIZE=str(ranks),
                    MASTER_ADDR="localhost",
                    MASTER_PORT=str(port),
                    KEEP_GROUPS="" if program is not command else "1",
                ),
                folder,
            )
            for rank in range(ranks)
        ]
        done = [each.done(SECONDS) for each in started]
    return Ran(max(map(_failure, done)), _joined(done, "stdout"), _joined(done, "stderr"))


def _failure(done: Done) -> int:
    return abs(done.returncode)


def _joined(done: Sequence[Done], name: str) -> str:
    return "".join(getattr(each, name) for each in done)


def torchrun(*command: str, ranks: int = 2, store: Path | None = None) -> Ran:
    """What `torchrun COMMAND` does; a script in it is found by its name."""
    alone = ("--standalone", "--nproc-per-node", str(ranks))
    return _ended(_started(alone, command, store))


def on_hosts(*command: str, stores: Sequence[Path], remote: Path) -> list[Ran]:
    """The same with a rank on each of several hosts, which share nothing but a remote."""
    with free_port() as port:
        hosts = ("--nnodes", str(len(stores)), "--master-addr", "localhost")
        started = [
            _started(
                (*hosts, "--master-port", str(port), "--node-rank", str(i)),
                command,
                store,
                FASTSA_REMOTE=str(remote),
            )
            for i, store in enumerate(stores)
        ]
        return [_ended(process) for process in started]


def _with_scripts(command: Sequence[str]) -> list[str]:
    return [str(RANK_SCRIPTS / each) if each.endswith(".py") else each for each in command]


def _started(
    options: Sequence[str], command: Sequence[str], store: Path | None, **more: str
) -> subprocess.Popen[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    chosen = {"FASTSA_STORE": str(store)} if store else {}
    return subprocess.Popen(
        [str(TORCHRUN), *options, *_with_scripts(command)],
        env={**kept, **ONE_THREAD, **chosen, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _ended(process: subprocess.Popen[str]) -> Ran:
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun ends its ranks
        out, err = process.communicate(timeout=60)
        raise AssertionError(f"hangs: {out}\n{err}") from None
    return Ran(process.returncode, out, err)


def kinds(store: Path) -> list[str]:
    """The kind of each thing in the store."""
    with Store.open(store) as opened:
        return sorted(row.kind for row in opened.list_items())
