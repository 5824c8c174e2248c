"""The user's program: which source lines are theirs, not torch's, ours or Python's own."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import torch

from fastsa import version

_PACKAGES = tuple(f"{Path(path).parent}/" for path in (str(torch.__file__), version.__file__))
_PYTHON = f"{sysconfig.get_path('stdlib')}/"
_INSTALLED = ("/site-packages/", "/dist-packages/")  # other people's models are below Python's


def is_installed(file: str) -> bool:
    """Whether a file is of an installed package: of the user's environment, not their own."""
    return any(folder in file for folder in _INSTALLED)


class Program:
    """Tells the user's lines. Answers are remembered."""

    def __init__(self) -> None:
        self._search = [Path(entry or ".") for entry in sys.path]
        self._files: dict[str, str | None] = {}

    def user_line(self, file: str, line: int) -> str | None:
        """`file:line` with the file's whole path if it is the user's, None otherwise."""
        if file not in self._files:
            self._files[file] = self._user_file(file)
        known = self._files[file]
        return None if known is None else f"{known}:{line}"

    def _user_file(self, file: str) -> str | None:
        if file.startswith("<"):
            return None  # made at run time: dataclasses, imports, compiled graphs
        path = self._whole(file)
        if path.startswith(_PACKAGES):
            return None
        return None if path.startswith(_PYTHON) and not is_installed(path) else path

    def _whole(self, file: str) -> str:
        """Undo what torch's profiler does: it cuts off what is on `sys.path`."""
        if Path(file).is_absolute():
            return file
        found = (folder / file for folder in self._search if (folder / file).is_file())
        return str(next(found, Path(file)).absolute())
