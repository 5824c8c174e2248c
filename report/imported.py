"""What a person sees when a profile came from a file."""

from __future__ import annotations

from typing import Literal

import msgspec

from fastsa.records.profile import Profile
from fastsa.report import text


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was stored. `missing` says what the file does not tell."""

    schema: Literal["fastsa.import/1"] = "fastsa.import/1"
    id: str
    script: str
    model: str
    device: str
    resident_bytes: int
    peak_bytes: int
    events: int
    missing: tuple[str, ...]


def summarize(profile_id: str, profile: Profile) -> ImportReport:
    """The report of a profile that is stored now."""
    return ImportReport(
        id=profile_id,
        script=profile.script,
        model=profile.model,
        device=profile.device,
        resident_bytes=profile.resident_bytes,
        peak_bytes=profile.peak_bytes,
        events=profile.timeline.events,
        missing=profile.missing,
    )


def render(report: ImportReport) -> str:
    """A few lines: what is stored, what is not in it, and where to look."""
    lines = (
        f"fastsa: profile {text.of_id(report.id)} of {report.model} on {report.device}, "
        f"from {report.script}",
        f"  peak      {text.of_bytes(report.peak_bytes)}, "
        f"{text.of_bytes(report.resident_bytes)} of it resident; as the file tells",
        f"  events    {text.of_count(report.events)}",
        *(f"  missing   {sentence}" for sentence in report.missing),
        f"  next      fastsa show {text.of_id(report.id)}",
    )
    return "\n".join(map(text.printable, lines))
