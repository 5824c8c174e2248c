"""Background: what a job tells the store's daemon, if one runs. Nothing depends on it."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from fastsa.cache.keys import PlanKey
from fastsa.daemon import client
from fastsa.daemon.protocol import Improve, Question, Yield

SECONDS = 2.0  # that a job waits for the daemon, all in all
PAUSE_SECONDS = 300.0  # until one that was not there is looked for again


class Background:
    """The daemon of one store, as long as it answers quickly. Raises nothing."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._left = SECONDS
        self._not_before = 0.0  # by the monotonic clock

    def plans(self, seconds: float) -> None:
        """This job is about to plan for so long: the daemon leaves it the cores."""
        self._tell(Yield(min(seconds, 3600.0)))

    def made(self, key: PlanKey, step_budget_bytes: int) -> None:
        """A plan was made in little time: the daemon may find a better one."""
        self._tell(Improve(key, step_budget_bytes))

    def _tell(self, what: Question) -> None:
        started = time.monotonic()
        if self._left <= 0 or started < self._not_before:
            return
        answered = client.ask(self._store, what, self._left)
        self._left -= time.monotonic() - started
        if answered is None:  # there is none, or it hangs
            self._not_before = time.monotonic() + PAUSE_SECONDS


@cache
def background(store: Path) -> Background:
    """One for each store and process."""
    return Background(store)
