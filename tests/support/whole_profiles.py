"""Profiles that have everything a profile can have, and whose numbers add up."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from fastsa.planner.graph import Graph
from fastsa.records.profile import (
    DeviceSample,
    DeviceUse,
    Fragmentation,
    MeasuredRegion,
    NodeTime,
    OpTime,
    Profile,
    Saved,
    StepPart,
)
from fastsa.records.timeline import CATEGORIES, PHASES, Allocation, Site, Timeline
from support import builders

KIB = 1024

Life = tuple[int, int | None, int | None]  # bytes, birth, death

SITES = tuple(
    Site(
        category,
        phase=PHASES[i % len(PHASES)],
        op=f"aten::op_{i}",
        module=f"blocks.{i}.mlp",
        source=f"/home/me/train.py:{10 + i}",
        node="AddmmBackward0" if category == "activation" else None,
    )
    for i, category in enumerate(CATEGORIES)
)


def live_bytes(timeline: Timeline) -> list[int]:
    """The sum before the first event, and just after each: by the definition, however slow."""
    before = sum(block.bytes for block in timeline.allocations if block.birth is None)
    return [before] + [
        sum(block.bytes for block in timeline.alive_at(event)) for event in range(timeline.events)
    ]


def timeline(lives: Sequence[Life], *, sites: Sequence[Site] = SITES) -> Timeline:
    """The timeline of these lives, a microsecond an event; sites in turn."""
    moments = [event for life in lives for event in life[1:] if event is not None]
    blocks = tuple(
        Allocation(
            size,
            birth,
            death,
            None if birth is None else birth * 1e-6,
            None if death is None else death * 1e-6,
            i % len(sites),
        )
        for i, (size, birth, death) in enumerate(lives)
    )
    events = max(moments, default=-1) + 1
    made = Timeline(events, 0, 0, 0, events * 1e-6, tuple(sites), blocks)
    live = live_bytes(made)
    peak = max(live)
    peak_event = live.index(peak, 1) - 1 if peak in live[1:] else 0
    return Timeline(events, live[0], peak, peak_event, made.seconds, made.sites, blocks)


LIVES: tuple[Life, ...] = (
    (64 * KIB, None, None),
    (8 * KIB, None, None),
    (4 * KIB, None, 9),
    (16 * KIB, 0, 8),
    (512, 1, 2),
    (32 * KIB, 3, 7),
    (16 * KIB, 4, None),
    (1000, 5, 6),
)


def profile(
    lives: Sequence[Life] = LIVES,
    *graphs: Graph,
    script: str = "train.py",
    sites: Sequence[Site] = SITES,
    factor: int = 1,
) -> Profile:
    """A profile of a step with these lives; `factor` times the seconds and kept bytes."""
    blocks = timeline(lives, sites=sites)
    return Profile(
        schema="fastsa.profile/2",
        created="2026-01-02T03:04:05+00:00",
        script=script,
        arguments=("--steps", "3"),
        model="__main__.Net",
        parameters=1234,
        shape="float32[8,16]",
        device=builders.DEVICE,
        versions={"torch": "2.13.0", "fastsa": "0.1.0"},
        resident_bytes=blocks.resident_bytes,
        peak_bytes=blocks.peak_bytes,
        step_seconds=0.25 * factor,
        timeline=blocks,
        saved=(
            _saved("blocks.0.mlp", 16 * KIB * factor),
            _saved("blocks.1.mlp", 32 * KIB),
            _saved("blocks.1.mlp", 4 * KIB, parameter=True),
        ),
        regions=tuple(MeasuredRegion(builders.captured(each), each) for each in graphs),
        allocator_peak_bytes=blocks.peak_bytes,
        recorded_seconds=0.5,
        step_parts=(StepPart("ops", 0.2), StepPart("launch and Python overhead", 0.05)),
        ops=(
            OpTime("aten::mm", "forward", "blocks.0.mlp", "train.py:10", 3, 0.01 * factor),
            OpTime("aten::mm", "backward", "blocks.0.mlp", "train.py:10", 6, 0.02 * factor),
            OpTime("aten::add", "forward", None, None, 1, 0.001),
        ),
        nodes=(NodeTime("AddmmBackward0", "blocks.0.mlp", 3, 0.02),),
        device_use=DeviceUse(
            builders.DEVICE, "575.1", 1 << 30, 1, (DeviceSample(0.0, 1 << 20, 1 << 19, 1 << 18),)
        ),
        fragmentation=Fragmentation(1 << 20, 1 << 19, 1 << 18, 3),
    )


def _saved(module: str, size: int, *, parameter: bool = False) -> Saved:
    return Saved(
        "AddmmBackward0",
        "mat1",
        size,
        (8, 16),
        "float32",
        parameter,
        op="aten::addmm",
        module=module,
        source="train.py:11",
        made_seconds=1e-6,
        used_seconds=5e-6,
    )


@st.composite
def lives(draw: st.DrawFn) -> list[Life]:
    """Any lives: alive before, alive after, never alive, and several events at a time."""
    moment = st.none() | st.integers(0, 12)
    found = draw(st.lists(st.tuples(st.integers(0, 5000), moment, moment), max_size=12))
    return [
        (size, birth, death)
        for size, birth, death in found
        if birth is None or death is None or birth <= death
    ]
