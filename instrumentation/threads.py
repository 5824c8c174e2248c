"""Threads: whether the program has others at work, which may be freeing tensors at any moment.

torch frees a tensor without Python's lock, while Python can still find it: looking at one then is
a segmentation fault.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_TURN_SECONDS = 10.0  # far longer than a look at all objects takes
_LOOK_SECONDS = 0.005

harmless: set[int] = set()
"""Threads of our own, by `threading.get_ident`: they never make or free a tensor."""
os.register_at_fork(after_in_child=harmless.clear)  # they are gone, and numbers are given again


@contextmanager
def alone() -> Iterator[bool]:
    """Yields whether all other threads wait; those that do stay so until the end."""
    if not _others():
        yield True
        return
    are_waiting = _wait()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_SECONDS)
    try:
        yield are_waiting
    finally:
        sys.setswitchinterval(interval)


def _others() -> set[int]:
    return sys._current_frames().keys() - harmless - {threading.get_ident()}


def _wait() -> bool:
    """Whether no other thread gets anywhere while it could: each has a turn meanwhile."""
    before = _processor_seconds()
    time.sleep(_LOOK_SECONDS)
    return _processor_seconds() == before


def _processor_seconds() -> dict[int, float]:
    # Of threads that Python knows, so they exist: the clock of one that has ended is a crash.
    return {thread: time.clock_gettime(time.pthread_getcpuclockid(thread)) for thread in _others()}
