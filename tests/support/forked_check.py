"""`fastsa`, whose observed processes are forked from it: each saves the import of torch."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from fork_server_main import run

from fastsa.cli.main import main
from fastsa.runtime.equivalence import check as script_check
from fastsa.runtime.equivalence import worker as observed


def start(
    command: Sequence[Any], *, env: Mapping[str, str], stdout: IO[bytes], **more: Any
) -> subprocess.CompletedProcess[bytes]:
    """What `subprocess.run` does with `python -m fastsa.runtime.equivalence.worker ASSIGNMENT`."""
    *_, module, assignment = command
    assert module == observed.__name__
    child = os.fork()
    if not child:
        become(stdout, env, os.fspath(assignment))
    _, status = os.waitpid(child, 0)
    return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(status))


def become(output: IO[bytes], env: Mapping[str, str], assignment: str) -> NoReturn:
    """In the child: be a process that has just begun."""
    atexit._clear()
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [observed.__file__, assignment]
    sys.path[0] = os.fspath(Path.cwd())
    sys.excepthook = sys.__excepthook__
    warnings.showwarning = warnings._showwarning_orig  # type: ignore[attr-defined]
    run(observed.__file__)


script_check.subprocess.run = start  # type: ignore[assignment]
main()
