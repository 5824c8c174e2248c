"""Reports on a terminal, in a pipe, and where stdout knows only ASCII."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterable

from rich import box, table
from rich.console import Console

from fastsa.report.layout import Facts, Part, Table
from fastsa.report.text import printable

NARROW = 120
PIPE_WIDTH = 400  # nobody looks at a pipe's width; wide enough that no cell is folded


def show(parts: Iterable[Part]) -> None:
    """Print to stdout, with a blank line between two parts."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name in Greek is no reason to fail
    width = _width()
    console = Console(markup=False, emoji=False, highlight=False, width=width)
    for position, part in enumerate(parts):
        if position:
            console.print()
        if isinstance(part, str):
            console.print(printable(part))
            continue
        console.print(printable(part.title), style="bold")
        console.print(_facts(part) if isinstance(part, Facts) else _table(part, width < NARROW))


def _width() -> int:
    wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return PIPE_WIDTH if wide else shutil.get_terminal_size().columns


def _facts(part: Facts) -> table.Table:
    grid = table.Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in part.pairs:
        if value:
            grid.add_row(name, printable(value))
    return grid


def _table(part: Table, narrow: bool) -> table.Table:
    shown = table.Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    kept = [i for i, name in enumerate(part.columns) if not (narrow and name.endswith("?"))]
    for name in (part.columns[i] for i in kept):
        number = name.endswith(">")
        shown.add_column(
            name.rstrip(">?"),
            justify="right" if number else "left",
            no_wrap=number or name == "id",
            overflow="fold",
        )
    for row in part.rows:
        shown.add_row(*(printable(row[i] or "") for i in kept))
    return shown
