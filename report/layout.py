"""What a report is made of, before anything decides how it looks."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Facts(msgspec.Struct, frozen=True):
    """Names and values, one pair a line; a pair without a value is left out."""

    title: str
    pairs: Sequence[tuple[str, str | None]]


class Table(msgspec.Struct, frozen=True):
    """Rows of cells; a cell without text is None.

    A column whose name ends in `>` is of numbers, to be aligned to the right; one whose name ends
    in `?` can be done without where there is little room. Cells of one that ends in `|` are
    percents of a whole: right-aligned, with a bar where somebody looks.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | None]]


class Curve(msgspec.Struct, frozen=True):
    """Lines of amounts over one axis, each with a name, drawn to the same scale."""

    title: str
    lines: Sequence[tuple[str, Sequence[int]]]


class Paragraph(msgspec.Struct, frozen=True):
    """Sentences, to be wrapped where they are easy to read."""

    text: str


Part = Facts | Table | Curve | Paragraph | str
