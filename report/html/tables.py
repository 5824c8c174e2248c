"""Tables, facts and paragraphs of `layout` as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fastsa.records.timeline import CATEGORIES
from fastsa.report.html.markup import Markup, element, joined
from fastsa.report.layout import PageFacts, Table

VISIBLE = 8  # rows; the others are a click away
_MARKS = ">?|"
_NAMES = {"op", "module", "modules", "source", "source line", "kept by", "node", "backward node"}


def of_table(table: Table) -> Markup:
    """A table under its title, the first rows of it in sight; empty without rows."""
    if not table.rows:
        return Markup("")
    title, origin = split(table.title)
    more = len(table.rows) - VISIBLE
    return element(
        "figure",
        element("figcaption", title, tag(origin) if origin else None),
        element(
            "table",
            element("thead", element("tr", *(_heading(name) for name in table.columns))),
            element("tbody", *(_row(table, i, more > 1) for i in range(len(table.rows)))),
        ),
        element("button", f"Show all {len(table.rows)}", type="button", class_="all")
        if more > 1
        else None,
    )


def split(title: str) -> tuple[str, str | None]:
    """A title, and at its end where its numbers are from."""
    first, _, last = title.rpartition(", ")
    return (first, last) if first and last.startswith(("measured", "predicted")) else (title, None)


def tag(origin: str) -> Markup:
    """Where a number is from."""
    return element("span", origin, class_="tag predicted" if "predicted" in origin else "tag")


def facts(part: PageFacts) -> Markup:
    """Names and values."""
    pairs = [
        joined(element("dt", name), element("dd", value)) for name, value in part.pairs if value
    ]
    title, origin = split(part.title)
    caption = element("figcaption", title, tag(origin) if origin else None)
    return element("figure", caption, element("dl", *pairs))


def swatch(category: str) -> Markup:
    """A dot in the colour of a category or phase."""
    return element("span", class_=f"swatch {category}")


def _heading(column: str) -> Markup:
    return element("th", column.rstrip(_MARKS), scope="col", class_=_class(column))


def _class(column: str) -> str | None:
    marks = column[len(column.rstrip(_MARKS)) :]
    kinds = [
        name
        for name, wanted in (("number", ">|"), ("spare", "?"), ("bar", "|"))
        if set(wanted) & set(marks)
    ]
    if column.rstrip(_MARKS) in _NAMES:
        kinds.append("name")
    return " ".join(kinds) or None


def _row(table: Table, position: int, folded: bool) -> Markup:
    hidden = folded and position >= VISIBLE
    cells = zip(table.columns, table.rows[position], strict=True)
    return element(
        "tr",
        *(_cell(column, content or "") for column, content in cells),
        class_="more" if hidden else None,
    )


def _cell(column: str, content: str) -> Markup:
    bar = column.endswith("|") and content
    dot = (
        swatch(content) if content in CATEGORIES and column.startswith(("cat", "mostly")) else None
    )
    style = f"--share:{content.rstrip('%')}" if bar else None
    pieces = [content] if "number" in (_class(column) or "") else _breakable(content)
    kind = " ".join(filter(None, (_class(column), "kind" if dot else None)))
    return element("td", dot, *pieces, class_=kind or None, style=style)


def _breakable(content: str) -> Iterator[str]:
    """A long name may be broken after its dots and underscores."""
    for piece in re.split(r"(?<=[._:/])(?=\w)", content):
        yield piece
        yield Markup("<wbr>")
