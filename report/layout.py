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
    in `?` can be done without where there is little room.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | None]]


Part = Facts | Table | str
