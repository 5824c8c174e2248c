"""A profile for programs, with stable keys; `profile_text` has the same for people."""

from __future__ import annotations

from typing import Literal

import msgspec

from fastsa.records.profile import Fragmentation, Profile, StepPart
from fastsa.report import at_peak, kept, levels, times
from fastsa.report.at_peak import Block, Category, SourceLine
from fastsa.report.kept import KeptModule, SavedNode
from fastsa.report.levels import Levels
from fastsa.report.times import Origin, TimeOf

TOP = 10
COLUMNS = 128  # moments of the timeline: more than a terminal has columns for


class RegionSummary(msgspec.Struct, frozen=True):
    """A captured region. `seconds` is the sum over its ops, measured one by one."""

    region: int
    captured_hash: str
    graph: str
    ops: int
    values: int
    seconds: float


class DeviceSummary(msgspec.Struct, frozen=True):
    """What NVML says of the device. `most_used_bytes` is by everybody, `beyond_bytes` what this
    process holds beyond PyTorch's allocator, each at most; None where NVML cannot tell."""

    name: str
    driver: str
    total_bytes: int
    other_processes: int
    samples: int
    most_used_bytes: int | None
    beyond_bytes: int | None


class ProfileReport(msgspec.Struct, frozen=True, kw_only=True):
    """All but `minimum_budget_bytes` is measured; bytes are the whole process's on the device.

    `ops_from` says where the seconds of `ops`, `modules` and `layers` (repeated modules together)
    are from: the recorded step, or the ops of the captured graph, each run alone; `op_seconds` is
    the sum over all. `levels` are those of the recorded step.
    """

    schema: Literal["fastsa.show.profile/2"] = "fastsa.show.profile/2"
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
    allocator_peak_bytes: int | None
    step_seconds: float | None
    recorded_seconds: float | None
    peak_event: int
    events: int
    allocations: int
    levels: Levels
    at_peak: tuple[Category, ...]
    at_peak_by_source: tuple[SourceLine, ...]
    largest_at_peak: tuple[Block, ...]
    regions: tuple[RegionSummary, ...]
    saved: tuple[SavedNode, ...]
    saved_by_module: tuple[KeptModule, ...]
    saved_by_layer: tuple[KeptModule, ...]
    ops_from: Origin
    op_seconds: float
    ops: tuple[TimeOf, ...]
    modules: tuple[TimeOf, ...]
    layers: tuple[TimeOf, ...]
    nodes: tuple[TimeOf, ...]
    step_parts: tuple[StepPart, ...]
    device_use: DeviceSummary | None
    fragmentation: Fragmentation | None
    missing: tuple[str, ...]
    ended: str | None
    minimum_budget_bytes: int | None

    @property
    def saved_bytes(self) -> int:
        """What autograd keeps from forward to backward, without parameters, of all listed nodes."""
        return sum(each.bytes for each in self.saved)


def summarize(profile_id: str, profile: Profile, *, top: int = TOP) -> ProfileReport:
    """The report of a stored profile, with at most `top` lines in each list that may be long."""
    blocks = at_peak.alive(profile.timeline)
    ops, ops_from = times.of_ops(profile)
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
        allocator_peak_bytes=profile.allocator_peak_bytes,
        step_seconds=profile.step_seconds,
        recorded_seconds=profile.recorded_seconds,
        peak_event=profile.timeline.peak_event,
        events=profile.timeline.events,
        allocations=len(profile.timeline.allocations),
        levels=levels.of(profile.timeline, COLUMNS),
        at_peak=at_peak.by_category(blocks),
        at_peak_by_source=at_peak.by_source(blocks)[:top],
        largest_at_peak=tuple(blocks[:top]),
        regions=_regions(profile),
        saved=kept.by_node(profile.saved),
        saved_by_module=kept.by_module(profile.saved)[:top],
        saved_by_layer=kept.by_layer(profile.saved)[:top],
        ops_from=ops_from,
        op_seconds=float(sum(each.seconds for each in ops)),
        ops=times.by_op(ops)[:top],
        modules=times.by_module(ops)[:top],
        layers=times.by_layer(ops)[:top],
        nodes=times.by_node(profile.nodes)[:top],
        step_parts=profile.step_parts,
        device_use=_device(profile),
        fragmentation=profile.fragmentation,
        missing=profile.missing,
        ended=profile.ended,
        minimum_budget_bytes=profile.minimum_budget_bytes,
    )


def _regions(profile: Profile) -> tuple[RegionSummary, ...]:
    return tuple(
        RegionSummary(
            position,
            region.captured_hash,
            region.graph.hash(),
            len(region.graph.ops),
            len(region.graph.values),
            region.graph.base_seconds,
        )
        for position, region in enumerate(profile.regions)
    )


def _device(profile: Profile) -> DeviceSummary | None:
    use = profile.device_use
    if use is None:
        return None
    return DeviceSummary(
        use.name,
        use.driver,
        use.total_bytes,
        use.other_processes,
        len(use.samples),
        max((sample.used_bytes for sample in use.samples), default=None),
        use.beyond_bytes,
    )
