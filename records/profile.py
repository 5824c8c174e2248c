"""The profile: what one real training step did. Knows nothing of torch."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from fastsa.planner.graph import Graph
from fastsa.records.timeline import Phase, Timeline


class Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A storage that autograd keeps between forward and backward, and the first node holding it.

    Seconds count from the start of the step: when it was made (None: before the step) and when the
    node that holds it ran (None: it did not).
    """

    node: str
    field: str
    bytes: int
    shape: tuple[int, ...]
    dtype: str
    parameter: bool  # a parameter or buffer: alive anyway
    op: str | None = None  # the forward op of that node
    module: str | None = None
    source: str | None = None
    made_seconds: float | None = None
    used_seconds: float | None = None


class OpTime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The calls of one op at one place in the recorded step; `seconds` is their sum.

    CUDA: on the device. CPU: by the clock, with what the profiler adds.
    """

    op: str
    phase: Phase
    module: str | None
    source: str | None
    calls: int
    seconds: float


class NodeTime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The runs of one kind of backward node for one module in the recorded step."""

    node: str
    module: str | None
    calls: int
    seconds: float


class StepPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named part of the recorded step's time."""

    name: str
    seconds: float


class DeviceSample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The device at one moment, by NVML. Seconds count from the first sample."""

    seconds: float
    used_bytes: int  # of the device, by everybody
    process_bytes: int | None  # by this process; None where NVML cannot tell
    allocator_bytes: int  # of that, what PyTorch's allocator holds


class DeviceUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What NVML says of the device during the recording."""

    name: str
    driver: str
    total_bytes: int
    other_processes: int
    samples: tuple[DeviceSample, ...]

    @property
    def beyond_bytes(self) -> int | None:
        """What the process holds beyond PyTorch's allocator (context, libraries), at most."""
        known = [s.process_bytes - s.allocator_bytes for s in self.samples if s.process_bytes]
        return max(known, default=None)


class Fragmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The CUDA caching allocator after the recorded step."""

    reserved_bytes: int
    allocated_bytes: int
    largest_free_bytes: int
    free_blocks: int


class MeasuredRegion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One captured piece of the model.

    `captured_hash` is the hash of the graph as capture alone sees it (fake tensors, no workspace):
    what a job knows at its start. `graph` is the same graph with measured seconds and workspace.
    """

    captured_hash: str
    graph: Graph


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recorded step of one script. Bytes are the whole process's on the device.

    `resident_bytes`: alive when a forward of the step begins, at most: under gradient accumulation
    the gradients so far are part of it. `peak_bytes`: highest of the step. `allocator_peak_bytes`:
    the same as the allocator itself counts it, without other libraries; None if it does not.
    `step_seconds`: one plain step, unrecorded, None if there was none. All are measured.

    `missing` says in sentences what is not there and why: the step broke off, NVML is missing.
    `step` joins the regions and the eager code between them into the graph that is planned; its
    `resident_bytes` are the process's when the first stretch in it begins.
    `ended` is the exception that ended the recorded step. `minimum_budget_bytes` is the smallest
    budget that fits (predicted), where running out of memory made it worth working out.
    """

    schema: Literal["fastsa.profile/2"]
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
    step_seconds: float | None
    timeline: Timeline
    saved: tuple[Saved, ...]
    regions: tuple[MeasuredRegion, ...]
    allocator_peak_bytes: int | None = None
    recorded_seconds: float | None = None  # the recorded step, with what recording adds
    step_parts: tuple[StepPart, ...] = ()
    ops: tuple[OpTime, ...] = ()
    nodes: tuple[NodeTime, ...] = ()
    device_use: DeviceUse | None = None
    fragmentation: Fragmentation | None = None
    missing: tuple[str, ...] = ()
    ended: str | None = None
    minimum_budget_bytes: int | None = None
    step: Graph | None = None

    @property
    def graph(self) -> Graph | None:
        """What there is to plan: the whole step, or its only region where no more is known."""
        if self.step is None and len(self.regions) == 1:
            return self.regions[0].graph
        return self.step

    @property
    def resident_beside_graph(self) -> int:
        """Bytes that the values of `graph` come on top of in the whole process, and any plan's.

        What is resident as the step begins and dies within it is among the values of a step graph.
        """
        return self.resident_bytes if self.step is None else self.step.resident_bytes

    def encode(self) -> bytes:
        """The profile as a JSON document."""
        return msgspec.json.encode(self)

    def id(self) -> str:
        """sha256 (hex) of the document."""
        return hashlib.sha256(self.encode()).hexdigest()
