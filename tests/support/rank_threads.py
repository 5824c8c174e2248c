"""Ranks of one job as threads of this process, each with its own view of one store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import pytest
import torch.distributed as dist

from fastsa.instrumentation.rank_store import RankStore

T = TypeVar("T")
HANG_SECONDS = 120.0


class _InTurn(RankStore):
    """A store of ranks that take turns: a rank has its turn until it waits for another."""

    turn: threading.Lock

    def wait(self, *names: str, seconds: float) -> str | None:
        self.turn.release()
        try:
            return super().wait(*names, seconds=seconds)
        finally:
            self.turn.acquire()


class RankThreads:
    """`count` ranks. What looks for the process group's store finds that of its thread.

    In a job each rank looks at all objects of its process, where no other thread may be making a
    tuple meanwhile: such ranks take turns (`in_turn`).
    """

    def __init__(
        self, count: int, monkeypatch: pytest.MonkeyPatch, *, in_turn: bool = False
    ) -> None:
        store = dist.HashStore()
        kind = _InTurn if in_turn else RankStore
        self.stores = [kind(store, "test", rank=rank, ranks=count) for rank in range(count)]
        self._turn: AbstractContextManager[object] = nullcontext()
        if in_turn:
            self._turn = _InTurn.turn = threading.Lock()
        self._here = threading.local()
        for module in ("fastsa.runtime.ranks", "fastsa.instrumentation.synchronized_stop"):
            monkeypatch.setattr(f"{module}.find_rank_store", self._find_store)

    def _find_store(self, name: str) -> RankStore | None:
        store: RankStore | None = getattr(self._here, "store", None)
        return store

    @property
    def rank(self) -> int | None:
        """The rank whose thread asks, None in other threads."""
        store = self._find_store("")
        return None if store is None else store.rank

    def start(self, rank: int, work: Callable[[], T]) -> Future[T]:
        """Let a rank begin with some work."""
        future: Future[T] = Future()

        def run() -> None:
            self._here.store = self.stores[rank]
            with self._turn:
                try:
                    result = work()
                except BaseException as error:  # noqa: BLE001  it is raised where it is asked for
                    future.set_exception(error)
                    return
            future.set_result(result)

        threading.Thread(target=run, daemon=True).start()
        return future

    def on(self, rank: int, work: Callable[[], T]) -> T:
        """What comes of a rank's work, when it is done."""
        return self.start(rank, work).result(HANG_SECONDS)

    def on_all(self, work: Callable[[int], T]) -> list[T | BaseException]:
        """What comes of the ranks' work, or what it raises, all at the same time."""
        started = [self.start(rank, lambda rank=rank: work(rank)) for rank in range(self.count)]  # type: ignore[misc]
        errors = [each.exception(HANG_SECONDS) for each in started]
        return [
            each.result() if error is None else error
            for each, error in zip(started, errors, strict=True)
        ]

    @property
    def count(self) -> int:
        """How many ranks there are."""
        return len(self.stores)
