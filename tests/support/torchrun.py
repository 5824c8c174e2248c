"""Runs a script on several ranks as people do, with and without fastsa."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastsa.cache.store import Store
from support.paths import SCRIPTS

RANK_SCRIPTS = SCRIPTS / "ranks"
TORCHRUN = Path(sys.executable).parent / "torchrun"
SECONDS = 120


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


def torchrun(*command: str, ranks: int = 2, store: Path | None = None) -> Ran:
    """What `torchrun COMMAND` does; a script in it is found by its name."""
    alone = ("--standalone", "--nproc-per-node", str(ranks))
    return _ended(_started(alone, command, store))


def on_hosts(*command: str, stores: Sequence[Path], remote: Path) -> list[Ran]:
    """The same with a rank on each of several hosts, which share nothing but a remote."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    hosts = ("--nnodes", str(len(stores)), "--master-addr", "127.0.0.1", "--master-port", port)
    started = [
        _started((*hosts, "--node-rank", str(i)), command, store, FASTSA_REMOTE=str(remote))
        for i, store in enumerate(stores)
    ]
    return [_ended(process) for process in started]


def _started(
    options: Sequence[str], command: Sequence[str], store: Path | None, **more: str
) -> subprocess.Popen[str]:
    found = [str(RANK_SCRIPTS / each) if each.endswith(".py") else each for each in command]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    chosen = {"FASTSA_STORE": str(store)} if store else {}
    return subprocess.Popen(
        [str(TORCHRUN), *options, *found],
        env={**kept, "OMP_NUM_THREADS": "1", **chosen, **more},
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
