"""Kineto: torch's own profiler, of which a process can have only one running.

The program comes first: when it starts a profiler while one of ours is running, ours stops.
"""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.autograd.profiler import profile

from fastsa.errors import FastsaError

SETTLE_SECONDS = 1.0
LOOK_SECONDS = 0.002
_GLOO = "pt_gloo_runloop"  # ProcessGroupGloo::runLoop


def is_running() -> bool:
    """Whether anybody in this process is using torch's profiler."""
    return bool(torch._C._autograd._profiler_enabled())


def refuse_second() -> None:
    """Raise FastsaError if somebody in this process is using torch's profiler."""
    if is_running():
        raise FastsaError(
            "another torch.profiler is running, and two cannot record at a time",
            hint="switch it off",
        )


def _end_without_destructors() -> None:
    """To be called in a forked process: let it end as it wants to, but without kineto's destructor.

    That would wait for a thread which only the parent has, for ever.
    """
    libc = ctypes.CDLL(None)
    libc.on_exit(libc._exit, None)  # gets the exit code; handlers run from the last to the first
    libc.__cxa_atexit(libc.fflush, None, None)


@cache
def _expect_forks() -> None:
    os.register_at_fork(after_in_child=_end_without_destructors)


def _settle() -> None:
    """Wait until Gloo's threads are asleep, at most a second.

    To the profiler that ran when a collective began, they report what they free when it is over,
    which may be after the backward that waited for it; and torch takes a profiler's records
    without a lock (RecordQueue::getRecords). Seen as a corrupted heap with torch 2.13.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    before = _gloo_threads()
    while before and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)  # without the GIL, which such a thread may be waiting for
        now = _gloo_threads()
        if now == before and all(state == "S" for state, _ in now.values()):
            return
        before = now


def _gloo_threads() -> dict[str, tuple[str, str]]:
    """By thread: its state, and how often it has gone to sleep."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError, KeyError):  # it has ended
            if (task / "comm").read_text().strip() == _GLOO:
                lines = (task / "status").read_text().splitlines()
                status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
                found[task.name] = status["State"][:1], status["voluntary_ctxt_switches"]
    return found


class Kineto:
    """One use of torch's profiler. `results` are there once it has stopped.

    Source: `torch.autograd.profiler.profile`, whose `_prepare_trace` every start goes through.
    """

    def __init__(self, device: torch.device, *, with_stack: bool = False) -> None:
        self.was_interrupted = False
        self._profile: profile | None = profile(
            use_kineto=True,
            use_device="cuda" if device.type == "cuda" else None,
            profile_memory=True,
            with_stack=with_stack,
            with_modules=with_stack,
        )
        self._running = False
        self._prepare = profile._prepare_trace

    def start(self) -> None:
        """Start. Raises FastsaError if somebody else is profiling."""
        refuse_second()
        _expect_forks()
        assert self._profile is not None
        self._profile.__enter__()
        self._running = True
        prepare, ours = self._prepare, self

        def _prepare_trace(other: Any) -> None:
            ours.was_interrupted = True
            ours.stop()
            prepare(other)  # type: ignore[no-untyped-call]

        profile._prepare_trace = _prepare_trace  # type: ignore[method-assign]

    def stop(self) -> None:
        """Stop. Safe to call twice."""
        if self._running:
            self._running = False
            profile._prepare_trace = self._prepare  # type: ignore[method-assign]
            assert self._profile is not None
            _settle()
            self._profile.__exit__(None, None, None)

    def take_results(self) -> Any:
        """Torch's results, which nobody else holds: they are gigabytes for a million blocks."""
        taken, self._profile = self._profile, None
        assert taken is not None
        return taken.kineto_results
