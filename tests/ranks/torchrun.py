"""Runs a script on several ranks as people do, with and without fastsa."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from fastsa.cache.store import Store

SCRIPTS = Path(__file__).parent.parent / "scripts" / "ranks"
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
    found = [str(SCRIPTS / each) if each.endswith(".py") else each for each in command]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = subprocess.Popen(
        [TORCHRUN, "--standalone", "--nproc-per-node", str(ranks), *found],
        env={**kept, "OMP_NUM_THREADS": "1", **({"FASTSA_STORE": str(store)} if store else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
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
