"""HTML from Python: whatever is not marked as markup is text, and is escaped."""

from __future__ import annotations

from html import escape

from fastsa.report.text import printable


class Markup(str):
    """HTML to be written as it is."""

    __slots__ = ()


def element(name: str, *children: str | None, **attributes: str | None) -> Markup:
    """`<name attribute="...">children</name>`; children and attributes that are None are left out.

    An attribute called like a word of Python has a `_` at its end, `data_x` is `data-x`.
    """
    written = "".join(
        f' {key.removesuffix("_").replace("_", "-")}="{_text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Markup:
    """Children one after another."""
    return Markup("".join(_child(each) for each in children if each is not None))


def _child(child: str) -> str:
    return child if isinstance(child, Markup) else _text(child)


def _text(text: str) -> str:
    return escape(printable(text))
