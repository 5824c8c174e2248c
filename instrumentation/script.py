"""Script: runs a person's program as `__main__`, as `python` itself would."""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
import zipfile
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from fastsa.errors import BadInput

_programs: list[ModuleType] = []
"""What a program has made lives to the interpreter's end, as in `python`.

If it died before, destructors would run that may never return in a living interpreter: gloo's waits
for its threads while they wait for the interpreter's lock.
"""


class StopScript(BaseException):
    """Ends a script that has shown what was wanted. No `except Exception` of the script sees it."""


def stop_script() -> None:
    """Raise StopScript."""
    raise StopScript


def run_script(
    target: str, arguments: Sequence[str], *, module: bool = False, for_good: bool = False
) -> None:
    """Run a file, or a module as with `python -m`, with its own argv and import path.

    Whatever the script raises passes through, SystemExit included. Raises BadInput if there is no
    such script. `sys.argv`, `sys.path` and `__main__` are put back, unless the process is the
    script's `for_good`: then its threads and its functions at exit find them as it left them.
    """
    argv, path, main = sys.argv, list(sys.path), sys.modules["__main__"]
    try:
        sys.argv = [target, *arguments]
        if module:
            _import_first_from(Path.cwd())
            _run_module(target)
        else:
            _run_file(target)
    finally:
        if not for_good:
            sys.argv = argv
            sys.path[:] = path
            sys.modules["__main__"] = main


def _import_first_from(folder: Path) -> None:
    # Where fastsa itself was started from is no business of the script's imports.
    if not sys.flags.safe_path:
        sys.path[:1] = [str(folder)]


def _run_module(name: str) -> None:
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{name}.".startswith(f"{error.name}."):
            raise
        found = None
    if found is None:
        raise BadInput(f"{name}: no such module", hint="give the name of a Python module")
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _run_file(target: str) -> None:
    file = Path(target)
    if zipfile.is_zipfile(file) or (file / "__main__.py").is_file():
        runpy.run_path(target, run_name="__main__")
        return
    if not file.is_file():
        raise BadInput(f"{target}: no such script", hint="give the path of a Python file")
    _import_first_from(file.resolve().parent)
    # Not runpy.run_path: it would also make `sys.argv[0]` absolute, which `python` leaves alone.
    path = os.path.join(os.getcwd(), target)  # noqa: PTH109, PTH118  Path drops `./`
    loader = _ScriptLoader("__main__", path)
    loader.exec_module(_main(path, loader))


class _ScriptLoader(SourceFileLoader):
    """Loads a program without looking for bytecode or leaving any, as `python` does."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _main(path: str, loader: SourceFileLoader) -> ModuleType:
    main = ModuleType("__main__")
    main.__file__ = path
    main.__loader__ = loader
    main.__dict__.update(__annotations__={}, __builtins__=__builtins__, __cached__=None)
    _programs.append(main)
    sys.modules["__main__"] = main
    return main
