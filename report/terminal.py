"""Tables on a terminal, in a pipe, and where stdout knows only ASCII."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from fastsa.report.text import printable

NARROW = 120
PIPE_WIDTH = 400  # nobody looks at a pipe's width; wide enough that no cell is folded


def show(renderables: Iterable[RenderableType]) -> None:
    """Print to stdout, with a blank line between two things."""
    console = _console()
    for position, each in enumerate(renderables):
        if position:
            console.print()
        console.print(each)


def _console() -> Console:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name in Greek is no reason to fail
    return Console(markup=False, emoji=False, highlight=False, width=_width())


def _width() -> int:
    wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return PIPE_WIDTH if wide else shutil.get_terminal_size().columns


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str | None]]) -> Group:
    """A table; a cell without text is None.

    A column whose name ends in `>` is aligned to the right and never folded; one whose name ends
    in `?` is left out where the terminal is narrow.
    """
    shown = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    narrow = _width() < NARROW
    kept = [i for i, name in enumerate(columns) if not (narrow and name.endswith("?"))]
    for name in (columns[i] for i in kept):
        number = name.endswith(">")
        shown.add_column(
            name.rstrip(">?"),
            justify="right" if number else "left",
            no_wrap=number or name == "id",
            overflow="fold",
        )
    for row in rows:
        shown.add_row(*(printable(row[i] or "") for i in kept))
    return _titled(title, shown)


def facts(title: str, pairs: Iterable[tuple[str, str | None]]) -> Group:
    """Names and values, one pair a line; pairs without a value are left out."""
    shown = Table.grid(padding=(0, 2))
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in pairs:
        if value:
            shown.add_row(name, printable(value))
    return _titled(title, shown)


def _titled(title: str, shown: Table) -> Group:
    return Group(Text(printable(title), style="bold"), shown)
