"""What the commands that run a person's script have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
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


def quiet_torch() -> None:
    """Keep torch's recorder from writing to stderr. To be called before torch is imported.

    libkineto reports each start and stop; c10 warns of every thousandth block that was allocated
    before recording began, which is expected here.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
