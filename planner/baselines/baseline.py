"""What a baseline is: a function from a graph, a budget and an effort to an order."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent import futures
from typing import Protocol, TypeVar

import msgspec

from fastsa.planner import _core
from fastsa.planner.graph import Graph
from fastsa.planner.options import Cancel

POLL_SECONDS = 0.02

T = TypeVar("T")


class Effort(msgspec.Struct, frozen=True):
    """How hard to try. `deadline` is on the clock of `time.monotonic`, in seconds."""

    deadline: float
    seed: int
    threads: int
    cancel: Cancel | None

    @property
    def cancelled(self) -> bool:
        """Whether the caller wants no more."""
        return self.cancel is not None and self.cancel.is_set()

    @property
    def seconds_left(self) -> float:
        """0 once the time is up or the caller has cancelled."""
        return 0.0 if self.cancelled else max(0.0, self.deadline - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether to stop."""
        return self.seconds_left <= 0

    def run(self, work: Callable[[], T], stop: Callable[[], None]) -> T:
        """Do the work of a native solver in a thread, and `stop` it when cancelled.

        A solver holds its thread until it is done: here, the caller's one still hears Ctrl-C.
        """
        with futures.ThreadPoolExecutor(1) as pool:
            future = pool.submit(work)
            try:
                while futures.wait([future], POLL_SECONDS).not_done:
                    if self.cancelled:
                        stop()
            finally:
                while not future.done():  # a stop before the solver has begun goes unheard
                    stop()
                    futures.wait([future], POLL_SECONDS)
            return future.result()


class Found(msgspec.Struct, frozen=True):
    """A baseline's order (None: it has none), and whether none of its kind is faster."""

    order: _core.Order | None
    proven: bool = False


class Find(Protocol):
    """The function `find` of a baseline's module."""

    def __call__(self, graph: Graph, budget_bytes: int, effort: Effort) -> Found:
        """The order the baseline chooses; nobody but the caller checks that it fits."""
