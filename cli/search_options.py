"""What the commands that search for plans have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def subject_arguments(function: F) -> F:
    """Adds PROFILE_ID and `--graph`."""
    for decorate in (
        click.option(
            "--graph",
            "graph_path",
            type=click.Path(path_type=Path),
            help="Graph file to plan, instead of a stored profile.",
        ),
        click.argument("profile_id", metavar="[PROFILE_ID]", required=False),
    ):
        function = decorate(function)
    return function


def effort_options(time_limit: float, search: str) -> Callable[[F], F]:
    """Adds `--time-limit` (seconds by default), `--iterations`, `--seed` and `--threads`."""
    iterations = f"Proposals per thread{search} to search for at most."

    def decorate_all(function: F) -> F:
        for decorate in (
            click.option(
                "--threads", type=int, default=1, show_default=True, help="Searches side by side."
            ),
            click.option(
                "--seed", type=int, default=0, show_default=True, help="Of the random choices."
            ),
            click.option("--iterations", type=int, help=iterations),
            click.option(
                "--time-limit",
                type=float,
                default=time_limit,
                show_default=True,
                help="Seconds to search for.",
            ),
        ):
            function = decorate(function)
        return function

    return decorate_all
