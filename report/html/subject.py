"""What a page is about: a profile, and what the store knows of its graph."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.records.profile import Profile
from fastsa.records.run import Run


class PlanUse(msgspec.Struct, frozen=True):
    """A plan of one of the profile's graphs, with its runs, latest first."""

    id: str
    plan: Plan
    runs: Sequence[Run] = ()


class PageSubject(msgspec.Struct, frozen=True):
    """A profile with its id; `curve`: the plans of a curve of its graph, highest budget first."""

    id: str
    profile: Profile
    use: PlanUse | None = None
    curve: Sequence[Plan] = ()

    @property
    def graph(self) -> Graph | None:
        """The graph of the whole step."""
        return self.profile.graph
