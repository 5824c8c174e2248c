"""What a person sees when a profile is complete."""

from __future__ import annotations

from fastsa.planner.budget import format_bytes
from fastsa.profiler.profile import Profile


def summary(profile: Profile, identity: str) -> str:
    """A few lines: what was measured, and what to run next."""
    ops = sum(len(region.graph.ops) for region in profile.regions)
    kept = sum(saved.bytes for saved in profile.saved if not saved.parameter)
    script = " ".join((profile.script, *profile.arguments))
    return "\n".join(
        (
            f"fastsa: profile {identity[:12]} of {profile.model} [{profile.shape}] "
            f"on {profile.device}",
            f"  peak      {format_bytes(profile.peak_bytes)} measured, "
            f"{format_bytes(profile.resident_bytes)} of it resident",
            f"  saved     {format_bytes(kept)} kept by autograd from forward to backward, measured",
            f"  step      {_step_time(profile)}",
            f"  captured  {ops} ops in {len(profile.regions)} region(s), "
            f"{profile.timeline.events} allocator events",
            f"  next      fastsa plan {identity[:12]} --budget 50%",
            f"            fastsa run --budget 50% {script}",
        )
    )


def _step_time(profile: Profile) -> str:
    if profile.step_seconds is None:
        return "not measured: there was no whole step that was not recorded"
    return f"{profile.step_seconds:.3f} s measured"
