"""What a stored plan is keyed by: everything that changes whether it may be used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

PREFIX = "sha256:"


def bare(digest: str) -> str:
    """A hash as the store's columns hold it: lower-case hex without `sha256:`."""
    return digest.removeprefix(PREFIX).lower()


def prefixed(digest: str) -> str:
    """A hash as documents write it: `sha256:` and hex."""
    return PREFIX + bare(digest)


class PlanKey(msgspec.Struct, frozen=True):
    """A plan serves only the same graph, device model and versions.

    `graph` is the graph's hash, with or without `sha256:`; `cuda` is None on a CPU; `planner` is
    the planner's version.
    """

    graph: str
    device: str
    torch: str
    cuda: str | None
    planner: str

    @classmethod
    def of(cls, graph: str, *, device: str, versions: Mapping[str, str], planner: str) -> PlanKey:
        """The key of a graph's plans on a device, under the versions a profile or a job has."""
        cuda = versions.get("cuda", "none")
        return cls(
            graph=graph,
            device=device,
            torch=versions.get("torch", ""),
            cuda=None if cuda == "none" else cuda,
            planner=planner,
        )

    def digest(self) -> str:
        """sha256 (hex) of the key."""
        fields = [bare(self.graph), self.device, self.torch, self.cuda, self.planner]
        return hashlib.sha256(msgspec.json.encode(fields)).hexdigest()
