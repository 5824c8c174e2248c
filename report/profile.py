"""A profile for people and, with stable keys, for programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

import msgspec

from fastsa.profiler.profile import Profile, Saved
from fastsa.profiler.timeline import CATEGORIES, Timeline
from fastsa.report import text
from fastsa.report.layout import Facts, Part, Table

TOP = 10


class Category(msgspec.Struct, frozen=True):
    """What one category holds at the peak."""

    category: str
    blocks: int
    bytes: int


class Block(msgspec.Struct, frozen=True):
    """A block alive at the peak."""

    bytes: int
    category: str
    op: str | None
    source: str | None
    birth_seconds: float | None
    death_seconds: float | None


class RegionSummary(msgspec.Struct, frozen=True):
    """A captured region. `seconds` is the sum over its ops, measured one by one."""

    region: int
    captured_hash: str
    graph: str
    ops: int
    values: int
    seconds: float


class SavedNode(msgspec.Struct, frozen=True):
    """What one autograd node keeps for the backward."""

    node: str
    tensors: int
    bytes: int
    parameter_bytes: int


class ProfileReport(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers are measured; bytes are the whole process's on the device."""

    schema: Literal["fastsa.show.profile/1"] = "fastsa.show.profile/1"
    id: str
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
    step_seconds: float | None
    peak_event: int
    events: int
    at_peak: tuple[Category, ...]
    largest_at_peak: tuple[Block, ...]
    regions: tuple[RegionSummary, ...]
    saved: tuple[SavedNode, ...]


def summarize(profile_id: str, profile: Profile) -> ProfileReport:
    """The report of a stored profile."""
    alive = _at_peak(profile.timeline)
    return ProfileReport(
        id=profile_id,
        created=profile.created,
        script=profile.script,
        arguments=profile.arguments,
        model=profile.model,
        parameters=profile.parameters,
        shape=profile.shape,
        device=profile.device,
        versions=profile.versions,
        resident_bytes=profile.resident_bytes,
        peak_bytes=profile.peak_bytes,
        step_seconds=profile.step_seconds,
        peak_event=profile.timeline.peak_event,
        events=profile.timeline.events,
        at_peak=_by_category(alive),
        largest_at_peak=tuple(sorted(alive, key=lambda a: -a.bytes)[:TOP]),
        regions=tuple(
            RegionSummary(
                position,
                region.captured_hash,
                region.graph.hash(),
                len(region.graph.ops),
                len(region.graph.values),
                region.graph.base_seconds,
            )
            for position, region in enumerate(profile.regions)
        ),
        saved=_by_node(profile.saved),
    )


def _at_peak(timeline: Timeline) -> list[Block]:
    blocks = []
    for alive in timeline.alive_at(timeline.peak_event):
        site = timeline.site(alive)
        times = (alive.birth_seconds, alive.death_seconds)
        blocks.append(Block(alive.bytes, site.category, site.op, site.source, *times))
    return blocks


def _by_category(alive: list[Block]) -> tuple[Category, ...]:
    blocks = defaultdict[str, list[int]](list)
    for each in alive:
        blocks[each.category].append(each.bytes)
    names = [name for name in CATEGORIES if name in blocks]
    return tuple(Category(name, len(blocks[name]), sum(blocks[name])) for name in names)


def _by_node(saved: tuple[Saved, ...]) -> tuple[SavedNode, ...]:
    nodes = defaultdict[str, list[Saved]](list)
    for each in saved:
        nodes[each.node].append(each)
    summaries = [
        SavedNode(
            node,
            len(held),
            sum(each.bytes for each in held if not each.parameter),
            sum(each.bytes for each in held if each.parameter),
        )
        for node, held in nodes.items()
    ]
    return tuple(sorted(summaries, key=lambda each: (-each.bytes, each.node)))


def render(report: ProfileReport) -> Iterator[Part]:
    """The report for people."""
    yield _overview(report)
    yield _peak(report)
    yield _largest(report)
    yield _regions(report)
    yield _saved(report)


def _overview(report: ProfileReport) -> Facts:
    return Facts(
        f"Profile {text.of_id(report.id)}",
        [
            ("script", " ".join((report.script, *report.arguments))),
            ("model", f"{report.model}, {text.of_count(report.parameters)} parameters"),
            ("shape", report.shape),
            ("device", report.device),
            ("recorded", f"{text.of_time(report.created)} UTC"),
            ("versions", ", ".join(f"{k} {v}" for k, v in report.versions.items())),
            ("peak", f"{text.of_bytes(report.peak_bytes)} measured, whole process"),
            ("resident", f"{text.of_bytes(report.resident_bytes)} measured, when a step begins"),
            ("step time", _step_time(report)),
        ],
    )


def _step_time(report: ProfileReport) -> str | None:
    if report.step_seconds is None:
        return None
    return f"{text.of_seconds(report.step_seconds)} measured, unrecorded step"


def _peak(report: ProfileReport) -> Table:
    total = sum(each.bytes for each in report.at_peak)
    rows = [
        (
            each.category,
            text.of_count(each.blocks),
            text.of_bytes(each.bytes),
            text.of_share(each.bytes, total),
        )
        for each in report.at_peak
    ]
    title = f"At the peak (event {report.peak_event} of {report.events}), measured"
    return Table(title, ["category", "blocks>", "bytes>", "share>"], rows)


def _largest(report: ProfileReport) -> Table:
    rows = [
        (text.of_bytes(each.bytes), each.category, each.op, text.of_source(each.source))
        for each in report.largest_at_peak
    ]
    title = "Largest blocks at the peak, measured"
    return Table(title, ["bytes>", "category", "op", "source"], rows)


def _regions(report: ProfileReport) -> Table:
    rows = [
        (
            str(each.region),
            text.of_id(each.graph),
            text.of_count(each.ops),
            text.of_count(each.values),
            text.of_seconds(each.seconds),
        )
        for each in report.regions
    ]
    title = "Captured regions; seconds measured op by op"
    return Table(title, ["region>", "graph", "ops>", "values>", "seconds>"], rows)


def _saved(report: ProfileReport) -> Table:
    rows = [
        (
            each.node,
            text.of_count(each.tensors),
            text.of_bytes(each.bytes),
            text.of_bytes(each.parameter_bytes) if each.parameter_bytes else "",
        )
        for each in report.saved[:TOP]
    ]
    title = "Kept by autograd between forward and backward, measured"
    return Table(title, ["node", "tensors>", "bytes>", "parameters>"], rows)
