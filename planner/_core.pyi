"""The planner's native core: what `binding/module.cpp` offers."""

from collections.abc import Callable, Sequence
from typing import ClassVar

sanitized: bool

class BadRequest(ValueError):
    """A graph, an order or a request that makes no sense; says which and why."""

class Algorithm:
    PAPER: ClassVar[Algorithm]
    PORTFOLIO: ClassVar[Algorithm]

class Status:
    OPTIMAL: ClassVar[Status]
    FEASIBLE: ClassVar[Status]
    NOT_FOUND: ClassVar[Status]
    INFEASIBLE: ClassVar[Status]
    @property
    def name(self) -> str: ...

class Order:
    def __init__(self, sequence: Sequence[int], segment_starts: Sequence[int]) -> None: ...
    @property
    def sequence(self) -> list[int]: ...
    @property
    def segment_starts(self) -> list[int]: ...

class Graph:
    def __init__(
        self,
        segment_regions: Sequence[int],
        value_bytes: Sequence[int],
        ops: Sequence[tuple[float, int, int, bool, Sequence[int], Sequence[int]]],
        outputs: Sequence[int],
    ) -> None: ...
    def base_order(self) -> Order: ...

class Footprint:
    @property
    def peak(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def peak_position(self) -> int: ...

class Claim:
    def __init__(
        self,
        status: Status,
        budget: int,
        peak: int,
        seconds: float,
        base_peak: int,
        base_seconds: float,
        lower_bound: float,
        minimum_budget: int,
    ) -> None: ...
    @property
    def status(self) -> Status: ...
    @property
    def budget(self) -> int: ...
    @property
    def peak(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def base_peak(self) -> int: ...
    @property
    def base_seconds(self) -> float: ...
    @property
    def lower_bound(self) -> float: ...
    @property
    def minimum_budget(self) -> int: ...

class Progress:
    @property
    def fits(self) -> bool: ...
    @property
    def peak(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def iterations(self) -> int: ...
    @property
    def elapsed(self) -> float: ...
    @property
    def fraction(self) -> float: ...

class Answer:
    @property
    def order(self) -> Order: ...
    @property
    def claim(self) -> Claim: ...
    @property
    def minimum_budget_op(self) -> int: ...
    @property
    def lower_bound_assumes(self) -> str: ...
    @property
    def iterations(self) -> int: ...
    @property
    def elapsed(self) -> float: ...

class Verdict:
    @property
    def ok(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def position(self) -> int: ...

def solve(
    graph: Graph,
    budget: int,
    *,
    algorithm: Algorithm,
    time_limit: float | None,
    iterations: int | None,
    seed: int,
    threads: int,
    warm_start: Order | None,
    monitor: Callable[[Progress], bool] | None,
) -> Answer: ...
def certify(graph: Graph, order: Order, budget: int, time_limit: float) -> Answer: ...
def just_in_time(graph: Graph, dropped: Sequence[int]) -> Order: ...
def validate(graph: Graph, order: Order, claim: Claim) -> Verdict: ...
def simulate(graph: Graph, order: Order) -> Footprint: ...
