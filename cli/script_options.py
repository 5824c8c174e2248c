"""What the commands that run a person's script have in common."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import click

from fastsa.cli.store_option import store_option
from fastsa.config import LONGEST

F = TypeVar("F", bound=Callable[..., Any])


class Seconds(click.FloatRange):
    """A range that `nan` is outside of."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises BadParameter."""
        if math.isnan(seconds := super().convert(value, param, ctx)):
            self.fail("nan is no number of seconds", param, ctx)
        return seconds


def script_arguments(function: F) -> F:
    """Adds `-m`, SCRIPT and ARGUMENTS; everything after SCRIPT is the script's own."""
    for decorate in (
        click.argument("arguments", nargs=-1, type=click.UNPROCESSED),
        click.argument("script"),
        click.option("-m", "module", is_flag=True, help="SCRIPT is a module, as in `python -m`."),
    ):
        function = decorate(function)
    return function


def planning_options(function: F) -> F:
    """Adds what a job that trains under a plan may be told: budget, search, store."""
    for decorate in (
        store_option(),
        click.option(
            "--best-effort",
            is_flag=True,
            help="Train at the lowest peak found if the budget cannot be met.",
        ),
        click.option(
            "--seed",
            type=click.IntRange(0, 2**63 - 1),
            default=0,
            show_default=True,
            help="Seed of the search.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(1, 1024),
            default=1,
            show_default=True,
            help="Threads to search with.",
        ),
        click.option(
            "--time-limit",
            type=Seconds(0, LONGEST),
            default=5.0,
            show_default=True,
            help="Seconds to plan for, if no stored plan fits.",
        ),
        click.option(
            "--budget",
            callback=_given,
            help="Memory budget: a size (40GiB), a share of the unplanned peak (50%), or auto.",
        ),
    ):
        function = decorate(function)
    return function


def _given(context: click.Context, option: click.Parameter, budget: str | None) -> str:
    if budget is None:
        raise click.UsageError("Missing option '--budget'. Options of fastsa go before SCRIPT.")
    return budget


def cupy_option(function: F) -> F:
    """Adds `--cupy-on-torch`."""
    return click.option(
        "--cupy-on-torch", is_flag=True, help="Let CuPy allocate from PyTorch's caching allocator."
    )(function)


def cupy_pool(shared: bool) -> AbstractContextManager[object]:
    """What the script is to run in: CuPy on PyTorch's allocator if `shared`."""
    if not shared:
        return nullcontext()
    from fastsa.instrumentation.allocators.cupy import share_pool

    return share_pool()


def rank_in_environment() -> int:
    """This process's rank as torchrun tells it, 0 in a process that is alone."""
    rank = os.environ.get("RANK", "")
    return int(rank) if rank.isdecimal() else 0


def quiet_torch() -> None:
    """Keep torch's recorder from writing to stderr. To be called before torch is imported.

    libkineto reports each start and stop; c10 warns of every thousandth block that was allocated
    before recording began, which is expected here.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
