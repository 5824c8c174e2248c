"""What a report is made of, before anything decides how it looks."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class PageFacts(msgspec.Struct, frozen=True):
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


class CurveFigure(msgspec.Struct, frozen=True):
    """Lines of amounts over one axis, each with a name, drawn to the same scale."""

    title: str
    lines: Sequence[tuple[str, Sequence[int]]]


class Area(msgspec.Struct, frozen=True):
    """Amounts over one axis, several lines high. `top` is the largest in words.

    `spans` are names for stretches of the axis, `mark` is a place on it; both in shares of 1.
    """

    title: str
    amounts: Sequence[int]
    top: str
    spans: Sequence[tuple[str, float, float]] = ()
    mark: tuple[float, str] | None = None


class Paragraph(msgspec.Struct, frozen=True):
    """Sentences, to be wrapped where they are easy to read."""

    text: str


Part = PageFacts | Table | CurveFigure | Area | Paragraph | str
