"""Threads: whether the program has others at work, which may be freeing tensors at any moment.

torch frees a tensor without Python's lock, while Python can still find it: looking at one then is
a segmentation fault.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PYTHON = sysconfig.get_path("stdlib")
_TURN_SECONDS = 10.0  # far longer than a look at all objects takes

harmless: set[int] = set()
"""Threads of our own that hold no tensor: they need not wait. By `threading.get_ident`."""
os.register_at_fork(after_in_child=harmless.clear)  # they are gone, and numbers are given again


@contextmanager
def alone() -> Iterator[bool]:
    """Yields whether all other threads wait; those that do stay so until the end."""
    others = [frame for ident, frame in sys._current_frames().items() if not _is_ours(ident)]
    if not others:
        yield True
        return
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_SECONDS)
    try:
        yield all(_waits(frame.f_code.co_filename) for frame in others)
    finally:
        sys.setswitchinterval(interval)


def _is_ours(thread: int) -> bool:
    return thread == threading.get_ident() or thread in harmless


def _waits(file: str) -> bool:
    # Locks, queues, sockets, pipes: what a thread waits on is in Python's own library.
    return file.startswith(_PYTHON) and "site-packages" not in file
