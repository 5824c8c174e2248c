"""Script traceback: an error of a script, shown as `python` would show it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

from fastsa import version

OURS = f"{Path(version.__file__).parent}{os.sep}"
STARTING = ("<frozen importlib._bootstrap", "<frozen runpy>")
"""Python's own frames between us and the first one of the script."""


def show(error: BaseException) -> None:
    """Let `sys.excepthook` show an error, and those that led to it, without our frames."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        each.__traceback__ = without_ours(each.__traceback__)
        pending += (each.__cause__, each.__context__)
    sys.excepthook(type(error), error, error.__traceback__)


def without_ours(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of fastsa, and of what starts a script.

    Args:
        trace: From the outermost frame.

    Returns:
        The rest; all of it if there is no other frame.
    """
    entries = []
    each = trace
    while each is not None:
        entries.append(each)
        each = each.tb_next
    kept = [entry for entry in entries if not _file(entry).startswith(OURS)]
    while kept and _file(kept[0]).startswith(STARTING):
        kept.pop(0)
    if not kept:
        return trace
    cleaned: TracebackType | None = None
    for entry in reversed(kept):
        cleaned = TracebackType(cleaned, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return cleaned


def _file(entry: TracebackType) -> str:
    return entry.tb_frame.f_code.co_filename
