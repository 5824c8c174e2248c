"""Notices: what a job has to warn of, each once."""

from __future__ import annotations

from fastsa.errors import warn
from fastsa.runtime.ranks import Ranks


class Notices:
    """Warnings of one job. Of the ranks that have the same to say, one says it."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._given: set[str] = set()

    def __len__(self) -> int:
        """How many there were."""
        return len(self._given)

    def warn(self, text: str) -> None:
        """Give a warning that was not given yet."""
        if text in self._given:
            return
        self._given.add(text)
        if self._ranks.is_first_to_say(text):
            who = f"rank {self._ranks.rank}: " if self._ranks.rank else ""
            warn(f"{who}{text}")
