"""Profiles as older fastsas wrote them. Knows nothing of torch."""

from __future__ import annotations

from typing import Literal

import msgspec

from fastsa.records.profile import MeasuredRegion, Profile, Saved
from fastsa.records.timeline import Allocation, Category, Site, Timeline


class _Head(msgspec.Struct):
    schema: str


class _Allocation1(msgspec.Struct, forbid_unknown_fields=True):
    bytes: int
    birth: int | None
    death: int | None
    birth_seconds: float | None
    death_seconds: float | None
    category: Literal["parameter", "buffer", "optimizer", "gradient", "saved", "temporary", "other"]
    op: str | None = None
    source: str | None = None

    @property
    def site(self) -> Site:
        category: Category = "activation" if self.category == "saved" else self.category
        return Site(category, op=self.op, source=self.source)


class _Timeline1(msgspec.Struct, forbid_unknown_fields=True):
    events: int
    resident_bytes: int
    peak_bytes: int
    peak_event: int
    allocations: tuple[_Allocation1, ...]

    def now(self) -> Timeline:
        sites: dict[Site, int] = {}
        times = [t for a in self.allocations for t in (a.birth_seconds, a.death_seconds) if t]
        return Timeline(
            events=self.events,
            resident_bytes=self.resident_bytes,
            peak_bytes=self.peak_bytes,
            peak_event=self.peak_event,
            seconds=max(times, default=0.0),
            allocations=tuple(
                Allocation(
                    a.bytes,
                    a.birth,
                    a.death,
                    a.birth_seconds,
                    a.death_seconds,
                    sites.setdefault(a.site, len(sites)),
                )
                for a in self.allocations
            ),
            sites=tuple(sites),
        )


class _Profile1(msgspec.Struct, forbid_unknown_fields=True):
    schema: Literal["fastsa.profile/1"]
    created: str
    script: str
    arguments: tuple[str, ...]
    model: str
    parameters: int
    shape: str
    device: str
    versions: dict[str, str]
    resident_bytes: int
    peak_bytes: int
    step_seconds: float
    timeline: _Timeline1
    saved: tuple[Saved, ...]
    regions: tuple[MeasuredRegion, ...]

    def now(self) -> Profile:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        fields |= {"schema": "fastsa.profile/2", "timeline": self.timeline.now()}
        return Profile(**fields)


def decode(data: bytes) -> Profile:
    """The profile in a document of any version. Raises msgspec's and Unicode's errors."""
    if msgspec.json.decode(data, type=_Head).schema == "fastsa.profile/1":
        return msgspec.json.decode(data, type=_Profile1).now()
    return msgspec.json.decode(data, type=Profile)
