"""What a plan adds to a step: plain and planned steps of one model, in turns, in one process.

python examples/step_times.py gpt|resnet BUDGET [--pairs 15]
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable

import msgspec
import torch

import fastsa
from fastsa.cache.store import Store

WARM_UP = 8  # steps: the first is traced, the third recorded
StepOf = Callable[[], float]


class StepTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of a step, and shares of a plain step that a planned one takes more."""

    plain_seconds: float  # median
    planned_seconds: float  # median
    predicted_extra: float  # the plan's
    least_extra: float  # the plan's lower bound: no plan adds less
    measured_extra: float  # median over the pairs
    quartiles: tuple[float, float]  # of the pairs
    pairs: int


def measure(step: StepOf, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of plain and of planned steps; a pair's two follow each other, in either order."""
    plain, planned = list[float](), list[float]()
    for number in range(pairs):
        for stance in ("force_eager", "default")[:: 1 if number % 2 else -1]:
            with torch.compiler.set_stance(stance):
                (plain if stance == "force_eager" else planned).append(step())
    return plain, planned


def predicted() -> tuple[float, float]:
    """What this process's plan says that it adds, and that any plan adds, to a plain step."""
    status = fastsa.status()
    if status is None or status.plan is None:
        raise SystemExit("nothing was planned: see the warning above")
    with Store.open() as store:
        plan = store.plan(status.plan)
    return plan.extra_seconds / plan.base_seconds, plan.lower_bound_seconds / plan.base_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example", choices=["gpt", "resnet"])
    parser.add_argument("budget")
    parser.add_argument("--pairs", type=int, default=15)
    args = parser.parse_args()

    example = importlib.import_module(f"train_{args.example}")
    model, optimizer, make_batch = example.build(example.parse_args([]))
    model.compile(backend="fastsa", options={"budget": args.budget})

    def step() -> float:
        start = time.perf_counter()
        example.train_step(model, optimizer, make_batch())
        return time.perf_counter() - start

    for _ in range(WARM_UP):
        step()
    measure(step, 1)  # the first plain one
    plain, planned = measure(step, args.pairs)
    extra = [after / before - 1 for before, after in zip(plain, planned, strict=True)]
    low, middle, high = statistics.quantiles(extra, n=4)
    predicted_extra, least_extra = predicted()
    times = StepTimes(
        plain_seconds=statistics.median(plain),
        planned_seconds=statistics.median(planned),
        predicted_extra=predicted_extra,
        least_extra=least_extra,
        measured_extra=middle,
        quartiles=(low, high),
        pairs=args.pairs,
    )
    print(msgspec.json.encode(times).decode())


if __name__ == "__main__":
    main()
