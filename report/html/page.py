"""The page around the sections: one file without any request, and no script but its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec

from fastsa.report.html.markup import Markup, element, joined

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def write(title: str, body: Markup, figures: Mapping[str, Figure]) -> str:
    """The whole document; the element with `data-figure="NAME"` gets the figure of that name."""
    scripts = [_plotly(), _resource("page.js")]
    head = element(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        Markup('<meta name="referrer" content="no-referrer">'),
        Markup('<link rel="icon" href="data:,">'),
        element("title", title),
        element("style", Markup(_resource("page.css"))),
    )
    drawn = Markup(_data({name: each.to_plotly_json() for name, each in figures.items()}))
    data = element("script", drawn, type="application/json", id="figures")
    run = joined(*(element("script", Markup(script)) for script in scripts))
    page = element("html", head, element("body", body, data, run), lang="en")
    return f"<!doctype html>\n{page}\n"


def _resource(name: str) -> str:
    return files("fastsa.report.html").joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    source = str(get_plotlyjs())
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _policy(scripts: list[str]) -> str:
    """Nothing is loaded, and only these scripts run. Plotly sets styles as it draws."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    allowed = " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def _data(document: object) -> str:
    """JSON that no HTML parser ends early: names come from anywhere."""
    text = msgspec.json.encode(document).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
