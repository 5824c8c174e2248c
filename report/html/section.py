"""A section of a page: what it says in a sentence, its figures, and its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from fastsa.report.html.markup import Markup, element, joined

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class Section(msgspec.Struct, frozen=True):
    """A part of the page, its entry in the contents, and the figures in its plots, by name."""

    id: str
    name: str
    content: Markup
    figures: Mapping[str, object] = {}


def section(
    id: str,
    name: str,
    says: str | Markup,
    *parts: Markup,
    figures: Mapping[str, Figure] | None = None,
) -> Section:
    """A section; `says` tells how to read it."""
    content = joined(element("h2", name), element("p", says, class_="says"), *parts)
    return Section(id, name, element("section", content, id=id), dict(figures or {}))


def plot(name: str, height: str, says: str) -> Markup:
    """The place of a figure; `says` is for those who cannot see it."""
    return element(
        "div",
        class_="plot",
        data_figure=name,
        style=f"--height:{height}",
        role="img",
        aria_label=says,
    )
