"""Health: what a store is, and what is wrong with it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

import msgspec

from fastsa.cache import garbage, location
from fastsa.cache.items import Kind

Document = Kind | Literal["margin"]
"""What has a payload."""

MOST_FLAWS = 100


class Flaw(msgspec.Struct, frozen=True):
    """Something damaged: a row (`kind`, `id`, `number`), or the file if there is no `kind`."""

    reason: str
    kind: Document | None = None
    id: str | None = None
    number: int | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A store in numbers. Bytes: of the files, and of the content that is not free."""

    path: str
    schema_version: int
    journal: str
    file_system: str
    file_bytes: int
    log_bytes: int
    content_bytes: int
    sqlite: str
    rows: dict[str, int]


def of_file(connection: sqlite3.Connection) -> list[Flaw]:
    """What SQLite itself finds, and rows that hang on none."""
    found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({MOST_FLAWS})")]
    loose = connection.execute("PRAGMA foreign_key_check").fetchall()
    return [
        *(Flaw(line) for line in found if line != "ok"),
        *(Flaw(f"row {row[1]} of {row[0]} belongs to a missing row of {row[2]}") for row in loose),
    ]


def facts(connection: sqlite3.Connection, path: Path) -> Facts:
    """See `Facts`."""
    names = [
        row["name"]
        for row in connection.execute(
            """SELECT name FROM sqlite_master WHERE type = 'table'
               AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name"""
        )
    ]
    return Facts(
        path=str(path),
        schema_version=connection.execute("PRAGMA user_version").fetchone()[0],
        journal=connection.execute("PRAGMA journal_mode").fetchone()[0],
        file_system=location.file_system(path),
        file_bytes=path.stat().st_size,
        log_bytes=_size(Path(f"{path}-wal")),
        content_bytes=garbage.content_bytes(connection),
        sqlite=sqlite3.sqlite_version,
        rows={
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
            for name in names
        },
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
