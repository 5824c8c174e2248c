"""What the commands that search for plans have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fastsa.planner.options import SearchOptions

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


def search_options(time_limit: float, search: str) -> Callable[[F], Callable[..., Any]]:
    """Adds `--time-limit` (seconds by default), `--iterations`, `--seed` and `--threads`.

    The command gets them as one value, `options`.
    """
    iterations = f"Proposals to try at most, per thread{search}."

    def decorate_all(function: F) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_options(
            *args: Any,
            time_limit: float,
            iterations: int | None,
            seed: int,
            threads: int,
            **more: Any,
        ) -> Any:
            options = SearchOptions(
                time_limit=time_limit, iterations=iterations, seed=seed, threads=threads
            )
            return function(*args, options=options, **more)

        decorated: Callable[..., Any] = with_options
        for decorate in (
            click.option(
                "--threads", type=int, default=1, show_default=True, help="Threads to search with."
            ),
            click.option(
                "--seed", type=int, default=0, show_default=True, help="Seed of the search."
            ),
            click.option("--iterations", type=int, help=iterations),
            click.option(
                "--time-limit",
                type=float,
                default=time_limit,
                show_default=True,
                help="Seconds to plan for.",
            ),
        ):
            decorated = decorate(decorated)
        return decorated

    return decorate_all
