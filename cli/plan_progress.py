"""The progress bar of a search, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastsa.report import text

if TYPE_CHECKING:
    from fastsa.planner.options import OnProgress, Progress


@contextmanager
def bar() -> Iterator[OnProgress | None]:
    """What to call with the search's progress; None where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("planning"), BarColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=1.0)

        def update(progress: Progress) -> None:
            shown.update(task, completed=progress.fraction, description=describe(progress))

        yield update


def describe(progress: Progress) -> str:
    """The best so far, in a line."""
    fits = "" if progress.fits else ", over the budget"
    return (
        f"best {text.of_seconds(progress.extra_seconds)} more,"
        f" peak {text.of_bytes(progress.peak_bytes)}{fits}"
        f" · {progress.elapsed_seconds:.1f} s"
    )
