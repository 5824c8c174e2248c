"""Owner: which process a row belongs to, so that others can tell when it is dead.

A process number alone is not enough: numbers are used again, and hosts share file systems.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START = 19  # of the fields after the command's name in /proc/PID/stat; clock ticks since boot


def current() -> str:
    """This process, as `host/boot/number/start`. Another one after a fork."""
    number = os.getpid()
    return f"{_host()}/{_boot()}/{number}/{_start(number)}"


def is_here(owner: str) -> bool:
    """Whether an owner is, or was, a process of this host."""
    return owner.rpartition("/")[0].rpartition("/")[0].rpartition("/")[0] == _host()


def is_dead(owner: str) -> bool:
    """Whether an owner is known to be gone: only of this host can that be known."""
    place, _, start = owner.rpartition("/")
    place, _, number = place.rpartition("/")
    host, _, boot = place.rpartition("/")
    if host != _host():
        return False
    return boot != _boot() or not number.isdecimal() or _start(int(number)) != start


@cache
def _host() -> str:
    return socket.gethostname()


@cache
def _boot() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return "-"


def _start(number: int) -> str:
    """When a process began; empty if there is none of this number, or a dead one not yet reaped."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()  # the name may hold spaces and brackets
    return "" if state in "ZX" else fields[_START - 1]
