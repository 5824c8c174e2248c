"""Documents: what a row's payload holds, held against the columns by which the row was found."""

from __future__ import annotations

import sqlite3
from typing import Any, TypeVar

from fastsa.cache import integrity
from fastsa.cache.health import Document
from fastsa.cache.keys import bare
from fastsa.errors import BadInput
from fastsa.planner import graph as graphs
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.records.margin import Margin
from fastsa.records.profile import Profile
from fastsa.records.run import Run
from fastsa.records.verdict import Verdict

T = TypeVar("T")

TYPES: dict[Document, type[Any]] = {
    "profile": Profile,
    "graph": Graph,
    "plan": Plan,
    "run": Run,
    "verdict": Verdict,
    "margin": Margin,
}


def read(kind: Document, row: sqlite3.Row, type_: type[T]) -> T:
    """The payload of a row. Raises Damaged, also if the columns tell of another document."""
    document = integrity.unpack(row["payload"], row["sha256"], type_)
    if _told(row, document) != _tells(document):
        raise integrity.Damaged("its columns are not those of its payload")
    return document


def flaw(kind: Document, row: sqlite3.Row) -> str | None:
    """What is wrong with a row; None if nothing is."""
    try:
        document = read(kind, row, TYPES[kind])
        if isinstance(document, Graph):
            graphs.check(document)
            if bare(document.hash()) != row["hash"]:
                return "it is another graph than its hash says"
    except (integrity.Damaged, BadInput) as error:
        return str(error)
    return None


def _told(row: sqlite3.Row, document: object) -> tuple[Any, ...]:
    """The columns by which a row was found."""
    if isinstance(document, Plan):
        return row["graph"], row["status"], row["peak_bytes"], row["seconds"]
    if isinstance(document, Verdict):
        return (row["plan"],)
    if isinstance(document, Margin):
        return row["graph"], row["device"], row["bytes"]
    return ()


def _tells(document: object) -> tuple[Any, ...]:
    """What the columns of a document's row must say."""
    if isinstance(document, Plan):
        return bare(document.graph), document.status, document.peak_bytes, document.seconds
    if isinstance(document, Verdict):
        return (bare(document.plan),)
    if isinstance(document, Margin):
        return bare(document.graph), document.device, document.bytes
    return ()
