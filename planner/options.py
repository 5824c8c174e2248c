"""SearchOptions: what one search may take, and how its caller follows and ends it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import msgspec

from fastsa.errors import BadInput
from fastsa.planner.baselines import BASELINES
from fastsa.planner.graph import INT64_MAX

ALGORITHMS = ("fastsa", "fastsa-paper")  # the core's own; the baselines of `baselines` come besides
MAX_THREADS = 1024


class SearchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to search: one value from the command line to the core.

    Args:
        time_limit: Seconds; None: until `iterations` are done.
        iterations: Of annealing; None: until the time is up. With `iterations` on one thread, and
            time enough, the answer depends on the seed alone.
        seed: Of the random generator, 0 to 2^64-1.
        threads: Searches side by side, 1 to 1024.
        algorithm: One of ALGORITHMS or of `fastsa.planner.baselines.BASELINES`.
    """

    time_limit: float | None = 5.0
    iterations: int | None = None
    seed: int = 0
    threads: int = 1
    algorithm: str = "fastsa"

    def check(self) -> None:
        """Refuse options that make no sense.

        Raises:
            BadInput: There is no such algorithm, or a number is out of its range.
        """
        names = (*ALGORITHMS, *BASELINES)
        if self.algorithm not in names:
            raise BadInput(
                f"there is no algorithm {self.algorithm!r}", hint=f"one of: {', '.join(names)}"
            )
        limit, iterations = self.time_limit, self.iterations
        if limit is None and iterations is None:
            raise BadInput(
                "no end to the search", hint="give a time limit or a number of iterations"
            )
        if limit is not None and (math.isnan(limit) or limit < 0):
            raise BadInput(f"time limit of {limit} seconds", hint="give 0 or more seconds")
        if iterations is not None and not 0 <= iterations <= INT64_MAX:
            raise BadInput(f"{iterations} iterations", hint="give 0 or more")
        if not 0 <= self.seed < 2**64:
            raise BadInput(f"seed {self.seed}", hint="give 0 to 2^64-1")
        if not 1 <= self.threads <= MAX_THREADS:
            raise BadInput(f"{self.threads} threads", hint=f"give 1 to {MAX_THREADS}")

    def share(self, of_time: float) -> SearchOptions:
        """Take a share of the time limit; iterations are per search and stay.

        Args:
            of_time: The share, 0 to 1.

        Returns:
            The options of the part; the same ones if there is no time limit.
        """
        if self.time_limit is None:
            return self
        return msgspec.structs.replace(self, time_limit=of_time * self.time_limit)


class Cancel(Protocol):
    """What `threading.Event` offers."""

    def is_set(self) -> bool:
        """Whether to stop."""
        ...


class Progress(msgspec.Struct, frozen=True):
    """How far a search is. `fraction` is of the time or the iterations it was given."""

    fits: bool
    peak_bytes: int
    extra_seconds: float
    iterations: int
    elapsed_seconds: float
    fraction: float


OnProgress = Callable[[Progress], None]


def check_budget(budget_bytes: int) -> None:
    """Refuse a budget that the core cannot count with.

    Raises:
        BadInput: It does not fit into 64 bits.
    """
    if not -INT64_MAX <= budget_bytes <= INT64_MAX:
        raise BadInput(f"budget of {budget_bytes} bytes", hint="give at most 2^63-1 bytes")
