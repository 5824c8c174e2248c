"""What the commands that run a person's script have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def script_arguments(function: F) -> F:
    """Adds `-m`, SCRIPT and ARGUMENTS; everything after SCRIPT is the script's own."""
    for decorate in (
        click.argument("arguments", nargs=-1, type=click.UNPROCESSED),
        click.argument("script"),
        click.option("-m", "module", is_flag=True, help="SCRIPT is a module, as in `python -m`."),
    ):
        function = decorate(function)
    return function


def cupy_option(function: F) -> F:
    """Adds `--cupy-on-torch`."""
    return click.option(
        "--cupy-on-torch", is_flag=True, help="CuPy allocates from PyTorch's caching allocator."
    )(function)


def cupy_pool(shared: bool) -> AbstractContextManager[object]:
    """What the script is to run in: CuPy on PyTorch's allocator if `shared`."""
    if not shared:
        return nullcontext()
    from fastsa.profiler.cupy_memory import share_pool

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
