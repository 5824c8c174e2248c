"""Reports on a terminal, in a pipe, and where stdout knows only ASCII."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterable, Sequence

from rich import box, table
from rich.console import Console

from fastsa.report import graphics
from fastsa.report.layout import Area, CurveFigure, PageFacts, Paragraph, Part, Table
from fastsa.report.text import printable

NARROW = 120  # fewer columns do without some of a table's
MARKS = ">?|"  # at the end of a column's name
MEDIUM = 70  # fewer do without bars
PIPE_WIDTH = 400  # nobody looks at a pipe's width; wide enough that no cell is folded
PARAGRAPH_WIDTH = 100
BAR_WIDTH = 10
AREA_HEIGHT = 8


def show(parts: Iterable[Part]) -> None:
    """Print to stdout, with a blank line between two parts."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name in Greek is no reason to fail
    width = _width()
    console = Console(markup=False, emoji=False, highlight=False, width=width)
    for position, part in enumerate(parts):
        if position:
            console.print()
        _print(console, part, width)


def _print(console: Console, part: Part, width: int) -> None:
    if isinstance(part, str):
        console.print(printable(part))
        return
    if isinstance(part, Paragraph):
        console.print(printable(part.text), width=min(width, PARAGRAPH_WIDTH))
        return
    console.print(printable(part.title), style="bold")
    match part:
        case PageFacts():
            console.print(_facts(part))
        case Table():
            console.print(_table(console, part, width))
        case CurveFigure():
            console.print(_curve(part, width))
        case Area():
            console.print("\n".join(_area(part, width)))


def _width() -> int:
    wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return PIPE_WIDTH if wide else shutil.get_terminal_size().columns


def _facts(part: PageFacts) -> table.Table:
    grid = table.Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in part.pairs:
        if value:
            grid.add_row(name, printable(value))
    return grid


def _plain() -> bool:
    return not graphics.drawable(sys.stdout.encoding or "ascii")


def _curve(part: CurveFigure, width: int) -> table.Table:
    grid = table.Table.grid(padding=(0, 2))
    names = max((len(printable(name)) for name, _ in part.lines), default=0)
    most = max((amount for _, amounts in part.lines for amount in amounts), default=0)
    room = max(1, width - names - 4)
    for name, amounts in part.lines:
        grid.add_row(printable(name), graphics.curve(amounts, most, room, plain=_plain()))
    return grid


def _area(part: Area, width: int) -> list[str]:
    indent = len(part.top) + 2
    room = max(1, min(width - indent - 1, len(part.amounts)))
    lines = graphics.area(part.amounts, room, AREA_HEIGHT, plain=_plain())
    names = ["" for _ in lines]
    names[0], names[-1] = part.top, "0"
    drawn = [f"{name:>{indent - 2}}  {line}" for name, line in zip(names, lines, strict=True)]
    below = [graphics.spans(part.spans, room, plain=_plain())] if part.spans else []
    if part.mark is not None:
        below.insert(0, graphics.mark(*part.mark, room, plain=_plain()))
    return [each.rstrip() for each in (*drawn, *(" " * indent + line for line in below))]


def _table(console: Console, part: Table, width: int) -> table.Table:
    shown = _columns(part, range(len(part.columns)), width)
    unbounded = console.options.update(width=PIPE_WIDTH)
    if width < NARROW and console.measure(shown, options=unbounded).maximum > width:
        kept = [i for i, name in enumerate(part.columns) if "?" not in _marks(name)]
        return _columns(part, kept, width)
    return shown


def _columns(part: Table, kept: Sequence[int], width: int) -> table.Table:
    shown = table.Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in (part.columns[i] for i in kept):
        number = bool({">", "|"} & _marks(name))
        shown.add_column(
            name.rstrip(MARKS),
            justify="right" if number else "left",
            no_wrap=number or name == "id",
            overflow="fold",
        )
    bars = BAR_WIDTH if MEDIUM <= width < PIPE_WIDTH else 0
    for row in part.rows:
        shown.add_row(*(_cell(part.columns[i], row[i] or "", bars) for i in kept))
    return shown


def _marks(column: str) -> set[str]:
    return set(column[len(column.rstrip(MARKS)) :])


def _cell(column: str, content: str, bars: int) -> str:
    if not ("|" in _marks(column) and bars and content):
        return printable(content)
    bar = graphics.bar(float(content.rstrip("%")) / 100, bars, plain=_plain())
    return f"{bar} {content:>6}"
