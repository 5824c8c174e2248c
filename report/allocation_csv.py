"""A profile's allocations as CSV (RFC 4180), each with the site it comes from."""

from __future__ import annotations

import csv
import io

import msgspec

from fastsa.records.profile import Profile
from fastsa.records.timeline import Site
from fastsa.report.text import printable

NUMBERS = ("allocation", "bytes", "birth", "death", "birth_seconds", "death_seconds")
FORMULA = ("=", "+", "-", "@")  # spreadsheets compute what begins so


def encode(profile: Profile) -> bytes:
    """The table with a header, UTF-8; what is unknown is empty."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow((*NUMBERS, *Site.__struct_fields__))
    timeline = profile.timeline
    sites = [tuple(map(_cell, msgspec.structs.astuple(site))) for site in timeline.sites]
    writer.writerows(
        (
            position,
            block.bytes,
            block.birth,
            block.death,
            block.birth_seconds,
            block.death_seconds,
            *sites[block.site],
        )
        for position, block in enumerate(timeline.allocations)
    )
    return file.getvalue().encode()


def _cell(text: str | None) -> str | None:
    """Names come from anywhere: a cell neither steers a terminal nor computes in a spreadsheet."""
    if text is None:
        return None
    shown = printable(text)
    return f"'{shown}" if shown.startswith(FORMULA) else shown
