"""`curve()`: the plans of a graph at every budget, from all of the unplanned peak downwards."""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path
from typing import Literal

import msgspec

from fastsa.errors import BadInput
from fastsa.planner import files
from fastsa.planner.graph import INT64_MAX, Graph
from fastsa.planner.options import Cancel, OnProgress, Progress, SearchOptions
from fastsa.planner.plan import Plan
from fastsa.planner.solve import solve
from fastsa.planner.validation import validate

POINTS = 16
FEWEST_POINTS, MOST_POINTS = 4, 1000
TIME_LIMIT = 30.0

_ATTEMPTS = 3  # at the lowest peak: where a search gets stuck above the minimum is chance
_EVEN = 2 / 3  # of the points; the others go where the extra time rises most
_ROUNDING = 1e-10  # of the step time: a smaller gap to the bound is none, as in the core


class Curve(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A family of plans of one graph (schema `fastsa.curve/1`), the highest budget first.

    Each plan fits its budget. From one to the next the budget falls, and neither the extra time
    nor its lower bound does. The first is the unplanned order; the last, of the lowest budget for
    which a plan was found, may be above `minimum_budget_bytes`. Bytes are the step's own, without
    what is resident.

    Attributes:
        schema: Name and version of the format.
        graph: The graph's hash (`sha256:...`).
        complete: Whether every budget was searched. A curve that was cut short may have its points
            far apart.
        base_peak_bytes: The peak of the unplanned order.
        base_seconds: The time of the unplanned order.
        minimum_budget_bytes: No plan exists below this budget.
        minimum_budget_op: Id of the op that sets the minimum.
        plans: The points.
    """

    schema: Literal["fastsa.curve/1"] = "fastsa.curve/1"
    graph: str
    complete: bool
    base_peak_bytes: int
    base_seconds: float
    minimum_budget_bytes: int
    minimum_budget_op: int
    plans: tuple[Plan, ...]

    @property
    def knee(self) -> Plan | None:
        """The plan farthest below the line from the curve's first point to its last.

        With budget and extra time both scaled to 1 this is the "knee" of Satopaa et al.,
        "Finding a 'Kneedle' in a Haystack" (2011). None if no plan is below the line.
        """
        width = self.plans[0].step_budget_bytes - self.plans[-1].step_budget_bytes
        height = self.plans[-1].extra_seconds - self.plans[0].extra_seconds
        if width <= 0 or height <= 0:
            return None

        def depth(point: Plan) -> float:
            saved = (self.plans[0].step_budget_bytes - point.step_budget_bytes) / width
            return saved - (point.extra_seconds - self.plans[0].extra_seconds) / height

        deepest = max(self.plans, key=depth)
        return deepest if depth(deepest) > 0 else None

    def encode(self) -> bytes:
        """Return the curve as a JSON document in UTF-8."""
        return msgspec.json.encode(self)

    def id(self) -> str:
        """Return the sha256 of the document, in hexadecimal."""
        return hashlib.sha256(self.encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write a curve file, whole or not at all.

        Args:
            path: The file; it is compressed if the name ends in `.gz`.

        Raises:
            FastsaError: The file cannot be written.
        """
        files.write(path, self.encode())


def decode(data: bytes, where: str = "curve") -> Curve:
    """Read a curve document. Checks its types; what its plans claim is for `validate`.

    Args:
        data: The JSON document.
        where: What error messages call the document.

    Returns:
        The curve.

    Raises:
        BadInput: The document is no curve; the message names the place and the reason.
    """
    found = files.decode(data, Curve, where)
    if not found.plans:
        raise BadInput(f"{where}: a curve without plans", hint="make it anew with fastsa curve")
    return found


def read(path: Path) -> Curve:
    """Read a curve file, as `decode` reads a document.

    Args:
        path: A `.json` or `.json.gz` file of up to 1 GiB, decompressed.

    Returns:
        The curve.

    Raises:
        BadInput: The file cannot be read or is no curve.
    """
    return decode(files.read(path), str(path))


def curve(
    graph: Graph,
    *,
    points: int = POINTS,
    time_limit: float | None = TIME_LIMIT,
    iterations: int | None = None,
    seed: int = 0,
    threads: int = 1,
    cancel: Cancel | None = None,
    on_progress: OnProgress | None = None,
) -> Curve:
    """Find plans at several budgets: `solve_curve` with its options by name.

    Args:
        graph: The graph of the step.
        points: How many budgets at most, 4 to 1000.
        time_limit: Seconds for all budgets together; None: until `iterations` are done.
        iterations: Of annealing, for each search; None: until the time is up.
        seed: Of the random generator, 0 to 2^64-1.
        threads: Searches side by side, 1 to 1024.
        cancel: When it is set, the search ends with the points so far.
        on_progress: Called at most ten times a second; what it raises ends the search.

    Returns:
        The curve. `Curve.complete` is False if the time or `cancel` cut it short.

    Raises:
        BadInput: As `solve_curve`.
    """
    options = SearchOptions(
        time_limit=time_limit, iterations=iterations, seed=seed, threads=threads
    )
    return solve_curve(graph, options, points=points, cancel=cancel, on_progress=on_progress)


def solve_curve(
    graph: Graph,
    options: SearchOptions,
    *,
    points: int = POINTS,
    cancel: Cancel | None = None,
    on_progress: OnProgress | None = None,
) -> Curve:
    """Find plans at several budgets, from the unplanned peak to the lowest that is reached.

    Args:
        graph: The graph of the step.
        options: How to search. The time limit is for all budgets together; iterations are for each
            search. The algorithm must be one of the core's: a baseline starts from no plan.
        points: How many budgets at most, 4 to 1000.
        cancel: When it is set, the search ends with the points so far.
        on_progress: Called at most ten times a second with the progress of the search going on,
            its `elapsed_seconds` and `fraction` those of the whole; what it raises ends the
            search.

    Returns:
        The curve. `Curve.complete` is False if the time or `cancel` cut it short.

    Raises:
        BadInput: The arguments make no sense.
    """
    if not FEWEST_POINTS <= points <= MOST_POINTS:
        raise BadInput(f"{points} points", hint=f"give {FEWEST_POINTS} to {MOST_POINTS}")
    options.check()
    effort = _Effort(options, searches=2 * points + _ATTEMPTS)
    return _Search(graph, effort, cancel, on_progress).curve(points)


class _Effort:
    """What all searches together may take, and how much of it the next one gets."""

    def __init__(self, options: SearchOptions, searches: int) -> None:
        self.options = options
        self.searches, self.done = searches, 0
        self.started = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        limit = self.options.time_limit
        return math.inf if limit is None else max(0.0, limit - self.elapsed)

    def next(self, attempt: int) -> SearchOptions:
        """What the next search may take. With iterations given, time is but the deadline."""
        seconds = None if self.options.time_limit is None else self.left
        if seconds is not None and self.options.iterations is None:
            seconds /= max(1, self.searches - self.done)
        seed = (self.options.seed + attempt) % 2**64
        return msgspec.structs.replace(self.options, time_limit=seconds, seed=seed)

    def fraction(self, of_search: float) -> float:
        return min(1.0, (self.done + of_search) / self.searches)


class _Search:
    """The points so far, by budget; every one of them fits."""

    def __init__(
        self,
        graph: Graph,
        effort: _Effort,
        cancel: Cancel | None,
        on_progress: OnProgress | None,
    ) -> None:
        self.graph = graph
        self.effort = effort
        self.cancel = cancel
        self.on_progress = None if on_progress is None else self.of_the_whole(on_progress)
        self.plans: dict[int, Plan] = {}

    def of_the_whole(self, on_progress: OnProgress) -> OnProgress:
        def report(progress: Progress) -> None:
            whole = msgspec.structs.replace(
                progress,
                elapsed_seconds=self.effort.elapsed,
                fraction=self.effort.fraction(progress.fraction),
            )
            on_progress(whole)

        return report

    def curve(self, points: int) -> Curve:
        top = self.search(INT64_MAX, None)
        self.plans[top.base_peak_bytes] = self.at(top, top.base_peak_bytes, top)
        self.reach(top.minimum_budget_bytes)
        complete = not self.over and self.descend(points) and self.refine(points)
        if complete:
            self.climb()
        return Curve(
            graph=top.graph,
            complete=complete,
            base_peak_bytes=top.base_peak_bytes,
            base_seconds=top.base_seconds,
            minimum_budget_bytes=top.minimum_budget_bytes,
            minimum_budget_op=top.minimum_budget_op,
            plans=tuple(self.certified()),
        )

    @property
    def over(self) -> bool:
        return self.effort.left <= 0 or (self.cancel is not None and self.cancel.is_set())

    @property
    def budgets(self) -> list[int]:
        """Those of the points, lowest first."""
        return sorted(self.plans)

    # Searches

    def search(self, budget: int, start: Plan | None, attempt: int = 0) -> Plan:
        effort = self.effort
        found = solve(
            self.graph,
            budget,
            effort.next(attempt),
            warm_start=start,
            cancel=self.cancel,
            on_progress=self.on_progress,
        )
        effort.done += 1
        return found

    def reach(self, budget: int) -> None:
        """Find the curve's lower end: `budget` if it can be met, or else the lowest peak."""
        lowest = self.search(budget, None)
        for attempt in range(1, _ATTEMPTS):
            if not lowest.fits and not self.over:
                lowest = self.search(budget, lowest, attempt)
        if not lowest.fits and lowest.peak_bytes < lowest.base_peak_bytes:
            # The bound of a budget that is not met is none for the larger one that is.
            lowest = self.search(lowest.peak_bytes, lowest)
        if lowest.fits:
            self.plans[lowest.step_budget_bytes] = lowest

    def descend(self, points: int) -> bool:
        """Even steps, each from its neighbour above. False: cut short."""
        low, high = self.budgets[0], self.budgets[-1]
        steps = max(1, math.ceil(points * _EVEN) - 1)
        for step in range(1, steps):
            if self.over:
                return False
            self.add(high - (high - low) * step // steps)
        return True

    def refine(self, points: int) -> bool:
        """Halve the step in which the extra time rises most, until there are enough points."""
        while len(self.plans) < points:
            middle = self.middle_of_steepest()
            if middle is None:
                return True
            if self.over:
                return False
            self.add(middle)
        return True

    def add(self, budget: int) -> None:
        if budget in self.plans:
            return
        above = min(each for each in self.plans if each > budget)
        below = max(each for each in self.plans if each < budget)
        found = self.search(budget, self.plans[above])
        # In no time nothing may be found; what fits a smaller budget fits this one.
        self.plans[budget] = found if found.fits else self.at(self.plans[below], budget, found)

    def middle_of_steepest(self) -> int | None:
        pairs = [
            (self.plans[low].seconds - self.plans[high].seconds, high - low, low)
            for low, high in zip(self.budgets, self.budgets[1:], strict=False)
            if high - low > 1
        ]
        if not pairs:
            return None
        _, width, low = max(pairs)
        return low + width // 2

    def climb(self) -> None:
        """Search every budget once more, from the best known plan that fits it."""
        for budget in self.budgets:
            known = self.plans[budget]
            best = self.at(self.fastest(budget), budget, known)
            if best.status != "optimal" and not self.over:
                best = self.at(self.search(budget, best, 1), budget, known)
            else:
                self.effort.done += 1
            self.plans[budget] = best

    # Certificates

    def certified(self) -> list[Plan]:
        """Each budget with the fastest of the plans that fit it and the best of its bounds."""
        bounds = dict[int, Plan]()
        tightest = self.plans[self.budgets[-1]]
        for budget in reversed(self.budgets):
            bounds[budget] = tightest = _tighter(self.plans[budget], tightest)
        return [
            self.at(self.fastest(budget), budget, bounds[budget])
            for budget in reversed(self.budgets)
        ]

    def fastest(self, budget: int) -> Plan:
        """Of all plans that fit, whatever budget they were made for; of equals its own."""
        own = self.plans[budget]
        fitting = (each for each in self.plans.values() if each.peak_bytes <= budget)
        return min(fitting, key=lambda each: (each.seconds, each is not own))

    def at(self, made: Plan, budget: int, bounded: Plan) -> Plan:
        """`made` as the plan of a budget that it fits, with `bounded`'s lower bound if tighter.

        A bound of a budget holds for every smaller one. Raises IllegalPlan.
        """
        bound = bounded if made.step_budget_bytes < budget else _tighter(made, bounded)
        gap = made.extra_seconds - bound.lower_bound_seconds
        answer = msgspec.structs.replace(
            made,
            status="optimal" if gap <= _ROUNDING * made.base_seconds else "feasible",
            step_budget_bytes=budget,
            lower_bound_seconds=bound.lower_bound_seconds,
            lower_bound_assumes=bound.lower_bound_assumes,
        )
        validate(self.graph, answer)
        return answer


def _tighter(one: Plan, other: Plan) -> Plan:
    return other if other.lower_bound_seconds > one.lower_bound_seconds else one
