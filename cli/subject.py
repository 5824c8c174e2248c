"""What is to be planned: a graph file, or the graph of a stored profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from fastsa.errors import BadInput
from fastsa.planner import graph as graphs
from fastsa.planner.graph import Graph

if TYPE_CHECKING:
    from fastsa.cache.keys import PlanKey
    from fastsa.records.profile import Profile


class Subject(msgspec.Struct, frozen=True):
    """A graph, and the profile it was measured in, if it was."""

    graph: Graph
    profile: Profile | None = None

    @property
    def key(self) -> PlanKey | None:
        """Where its plans are stored; None for a file's."""
        if self.profile is None:
            return None
        from fastsa.cache.keys import PlanKey
        from fastsa.planner.search import PLANNER_VERSION

        return PlanKey.of(
            self.graph.hash(),
            device=self.profile.device,
            versions=self.profile.versions,
            planner=PLANNER_VERSION,
        )


def read(profile_id: str | None, graph_path: Path | None) -> Subject:
    """The subject that the command line names. Raises BadInput, and UsageError if not just one."""
    if (profile_id is None) == (graph_path is None):
        raise click.UsageError("Give either PROFILE_ID or --graph FILE.")
    if graph_path is not None:
        return Subject(graphs.read(graph_path))
    return _of_profile(str(profile_id))


def _of_profile(profile_id: str) -> Subject:
    from fastsa.cache.store import Store

    with Store.open() as store:
        item = store.resolve(profile_id)
        if item.kind != "profile":
            raise BadInput(
                f"{profile_id} is a {item.kind}, not a profile", hint="see `fastsa list`"
            )
        profile = store.profile(item.id)
    if profile.graph is None:
        raise BadInput(
            f"profile {profile_id} has {len(profile.regions)} captured regions and no graph of the"
            " whole step",
            hint="record it again with more steps, or export a region's graph (`fastsa export`)"
            " and plan that",
        )
    return Subject(profile.graph, profile)
