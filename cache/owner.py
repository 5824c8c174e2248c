"""Owner: which process a row belongs to, so that others can tell when it is dead.

A process number alone is not enough: numbers are used again, hosts share file systems, and in a
container of its own a process has another number than outside.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")
_START = 19  # of the fields after the command's name in /proc/PID/stat; clock ticks since boot


def current() -> str:
    """This process, as `host/boot/namespace/number/start`. Another one after a fork."""
    number = os.getpid()
    return f"{_host()}/{_boot()}/{_namespace()}/{number}/{_start(number)}"


def is_here(owner: str) -> bool:
    """Whether an owner's numbers mean something here."""
    return _place(owner)[:2] == (_host(), _namespace())


def is_dead(owner: str) -> bool:
    """Whether an owner is known to be gone: only of those that are seen from here is it known."""
    host, namespace, boot, number, start = _place(owner)
    if host != _host():
        return False
    if boot != _boot():
        return True
    if namespace != _namespace():
        return False
    return not number.isdecimal() or _start(int(number)) != start


def _place(owner: str) -> tuple[str, str, str, str, str]:
    """Host, namespace, boot, number, start; a host's name may be anything."""
    host, *rest = owner.rsplit("/", 4)
    boot, namespace, number, start = rest if len(rest) == 4 else ("", "", "", "")
    return host, namespace, boot, number, start


@cache
def _host() -> str:
    return socket.gethostname()


@cache
def _namespace() -> str:
    """Which processes have numbers together; empty where the system does not say."""
    try:
        return str(_NAMESPACE.stat().st_ino)
    except OSError:
        return ""


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
