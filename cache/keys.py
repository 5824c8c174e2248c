"""What a stored plan is keyed by: everything that changes whether it may be used."""

from __future__ import annotations

import hashlib

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

    def digest(self) -> str:
        """sha256 (hex) of the key."""
        fields = [bare(self.graph), self.device, self.torch, self.cuda, self.planner]
        return hashlib.sha256(msgspec.json.encode(fields)).hexdigest()
