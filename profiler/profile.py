"""The profile: what one real training step did. Knows nothing of torch."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from fastsa.planner.graph import Graph
from fastsa.profiler.timeline import Timeline


class Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A storage that autograd keeps between forward and backward, and the first node holding it."""

    node: str
    field: str
    bytes: int
    shape: tuple[int, ...]
    dtype: str
    parameter: bool  # a parameter or buffer: alive anyway


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One captured piece of the model.

    `captured_hash` is the hash of the graph as capture alone sees it (fake tensors, no workspace):
    what a job knows at its start. `graph` is the same graph with measured seconds and workspace.
    """

    captured_hash: str
    graph: Graph


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recorded step of one script. Bytes are the whole process's on the device.

    `resident_bytes`: alive when a forward of the step begins, at most: under gradient accumulation
    the gradients so far are part of it. `peak_bytes`: highest of the step.
    `step_seconds`: one plain step, unrecorded. All three are measured.
    """

    schema: Literal["fastsa.profile/1"]
    created: str  # ISO 8601, UTC
    script: str
    arguments: tuple[str, ...]
    model: str  # class path of the root module(s)
    parameters: int  # how many numbers the model has
    shape: str  # input signature, e.g. "int64[8,256], int64[8,256]"
    device: str
    versions: dict[str, str]
    resident_bytes: int
    peak_bytes: int
    step_seconds: float
    timeline: Timeline
    saved: tuple[Saved, ...]
    regions: tuple[Region, ...]

    def encode(self) -> bytes:
        """The profile as a JSON document."""
        return msgspec.json.encode(self)

    def id(self) -> str:
        """sha256 (hex) of the document."""
        return hashlib.sha256(self.encode()).hexdigest()
