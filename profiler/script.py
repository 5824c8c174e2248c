"""Script: runs a person's program as `__main__`, as `python` itself would."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from fastsa.errors import BadInput


class StopScript(BaseException):
    """Ends a script that has shown what was wanted. No `except Exception` of the script sees it."""


def run_script(target: str, arguments: Sequence[str], *, module: bool = False) -> None:
    """Run a file, or a module as with `python -m`, with its own argv and import path.

    Whatever the script raises passes through, SystemExit included. Raises BadInput if there is no
    such script. `sys.argv` and `sys.path` are put back.
    """
    argv, path = sys.argv, list(sys.path)
    try:
        if module:
            sys.argv = [target, *arguments]
            sys.path.insert(0, str(Path.cwd()))
            runpy.run_module(target, run_name="__main__", alter_sys=True)
        else:
            file = Path(target)
            if not file.is_file():
                raise BadInput(f"{target}: no such script", hint="give the path of a Python file")
            sys.argv = [target, *arguments]
            sys.path.insert(0, str(file.resolve().parent))
            runpy.run_path(target, run_name="__main__")
    finally:
        sys.argv = argv
        sys.path[:] = path
