"""The option `--store`, the same for every command that has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def store_option(parameter: str = "store") -> Callable[[Any], Any]:
    """A decorator that adds `--store` and passes it as `parameter`."""
    return click.option(
        "--store",
        parameter,
        type=click.Path(path_type=Path, dir_okay=False),
        help="Store file.  [default: FASTSA_STORE, else store.db in the user data directory]",
    )
