"""What a person sees when a profile is complete, or as complete as it will be."""

from __future__ import annotations

from collections.abc import Iterator

from fastsa.planner.budget import format_bytes
from fastsa.planner.explain import peak
from fastsa.planner.explain.order import RunOrder
from fastsa.planner.graph import Graph
from fastsa.planner.native import native
from fastsa.planner.step import EAGER_TARGET
from fastsa.records.profile import Profile

WORTH_SAYING = 0.25  # of the peak


def summary(profile: Profile, identity: str) -> str:
    """A few lines: what was measured, what is missing, and what to run next."""
    return "\n".join(_lines(profile, identity[:12]))


def _lines(profile: Profile, name: str) -> Iterator[str]:
    kept = sum(saved.bytes for saved in profile.saved if not saved.parameter)
    part = "incomplete profile" if profile.missing else "profile"
    yield f"fastsa: {part} {name} of {profile.model} [{profile.shape}] on {profile.device}"
    yield (
        f"  peak      {format_bytes(profile.peak_bytes)} measured, "
        f"{format_bytes(profile.resident_bytes)} of it resident"
    )
    yield f"  saved     {format_bytes(kept)} kept by autograd from forward to backward, measured"
    if profile.step_seconds is not None:
        yield f"  step      {profile.step_seconds:.3f} s measured"
    ops = sum(len(region.graph.ops) for region in profile.regions)
    yield (
        f"  captured  {ops} ops in {len(profile.regions)} region(s), "
        f"{profile.timeline.events} allocator events"
    )
    if profile.graph is not None:
        yield from _outside(profile.graph)
    for sentence in profile.missing:
        yield f"  missing   {sentence}"
    if profile.ended is not None:
        yield f"  ended     {profile.ended}"
    yield from _next(profile, name)


def _outside(graph: Graph) -> Iterator[str]:
    base = native(graph).base_order()
    unplanned = peak.of(RunOrder(graph, base.sequence, base.segment_starts))
    share = peak.made_by(EAGER_TARGET, unplanned) / max(1, unplanned.bytes)
    if share >= WORTH_SAYING:
        yield (
            f"  outside   {share:.0%} of the step's own peak is of code that was not captured: no "
            "plan changes it"
        )
        yield "            (TORCH_LOGS=graph_breaks shows where torch could not capture)"


def _next(profile: Profile, name: str) -> Iterator[str]:
    yield f"  next      fastsa report {name}"
    if profile.regions:
        yield f"            fastsa plan {name} --budget 50%"
        script = " ".join((profile.script, *profile.arguments))
        yield f"            fastsa run --budget 50% {script}"
