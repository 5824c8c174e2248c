"""Synchronized stop: all ranks of a script end after the same step."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from fastsa.instrumentation.rank_store import RankStore, find_rank_store
from fastsa.instrumentation.script import StopScript, stop_script

_LAST = "last"


class SynchronizedStop:
    """While entered, counts the optimizers' steps, and ends the script after the announced one.

    Each rank of a job enters one; the rank that is recorded calls `end`. If it just left, the
    others would wait for it in a collective. Ranks without one in every step may end apart.
    """

    def __init__(self) -> None:
        self._steps = 0

    def __enter__(self) -> Self:
        self._handle = register_optimizer_step_post_hook(self._stepped)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.remove()

    def end(self) -> None:
        """Raise StopScript in a process that trains alone; else end all ranks with the next step.

        Not with this one: another rank may be through with it. It cannot be through with the next,
        whose backward waits for ours.
        """
        store = _rank_store()
        if store is None:
            stop_script()
            return
        store.put(_LAST, str(self._steps + 2).encode())

    def _stepped(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._steps += 1
        store = _rank_store()
        if store is not None and store.has(_LAST) and self._steps >= int(store.read(_LAST)):
            raise StopScript


def _rank_store() -> RankStore | None:
    return find_rank_store("profile")
