"""The graph: what one training step computes (schema `fastsa.graph/1`). Knows nothing of torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import msgspec

from fastsa.errors import BadInput
from fastsa.planner import files

INT64_MAX = 2**63 - 1
MOST_BYTES = 2**60  # of all values together: the core adds up a few times as many


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One storage; views are folded into the value they alias. `bytes` are allocator-rounded."""

    id: int
    bytes: int


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One contiguous stretch of execution: a region's forward, or its backward."""

    name: str
    region: int


class Op(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One operation: reads storages, creates storages, takes `seconds`."""

    id: int
    target: str
    segment: int
    seconds: float
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    recomputable: bool
    workspace_bytes: int = 0
    name: str | None = None
    source: str | None = None
    module: str | None = None


class Graph(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A step's ops in a legal order, sorted by segment, and the storages between them.

    The format is `fastsa.graph/1` of docs/formats.md. Ids are positions: the first op is 0.

    Attributes:
        schema: Name and version of the format.
        name: What people call the graph.
        resident_bytes: What is alive all the time; it is not part of any plan's peak.
        segments: Contiguous stretches of execution, in the order they run.
        values: Storages.
        ops: Operations, in the order of the unplanned step.
        outputs: Ids of the values that live from their last production to the end of the step.
        device: Where the seconds come from.
        producer: The versions that made the graph; in a step's graph `regions` as well.
    """

    schema: Literal["fastsa.graph/1"]
    name: str
    resident_bytes: int
    segments: tuple[Segment, ...]
    values: tuple[Value, ...]
    ops: tuple[Op, ...]
    outputs: tuple[int, ...]
    device: dict[str, Any] | None = None
    producer: dict[str, Any] | None = None

    @property
    def base_seconds(self) -> float:
        """The time in seconds of the step when nothing is recomputed: the sum over all ops."""
        return float(sum(op.seconds for op in self.ops))

    def canonical(self) -> bytes:
        """Return what decides which plans are legal and what they weigh: no seconds, no names."""
        return msgspec.json.encode(
            [
                [segment.region for segment in self.segments],
                [value.bytes for value in self.values],
                [
                    [
                        op.target,
                        op.segment,
                        op.workspace_bytes,
                        op.inputs,
                        op.outputs,
                        op.recomputable,
                    ]
                    for op in self.ops
                ],
                self.outputs,
            ]
        )

    def hash(self) -> str:
        """Return the sha256 of the canonical form (`sha256:...`): the key of this graph's plans."""
        return "sha256:" + hashlib.sha256(self.canonical()).hexdigest()

    def encode(self) -> bytes:
        """Return the graph as a JSON document in UTF-8."""
        return msgspec.json.encode(self)

    def write(self, path: Path) -> None:
        """Write a graph file, whole or not at all.

        Args:
            path: The file; it is compressed if the name ends in `.gz`.

        Raises:
            FastsaError: The file cannot be written.
        """
        files.write(path, self.encode())


def decode(data: bytes, where: str = "graph") -> Graph:
    """Read a graph document and check that it makes sense.

    Args:
        data: The JSON document.
        where: What error messages call the document.

    Returns:
        The graph; `check` has accepted it.

    Raises:
        BadInput: The document is no graph; the message names the place and the reason.
    """
    graph = files.decode(data, Graph, where)
    check(graph, where)
    return graph


def read(path: Path) -> Graph:
    """Read a graph file, as `decode` reads a document.

    Args:
        path: A `.json` or `.json.gz` file of up to 1 GiB, decompressed.

    Returns:
        The graph; `check` has accepted it.

    Raises:
        BadInput: The file cannot be read or is no graph.
    """
    return decode(files.read(path), str(path))


def check(graph: Graph, where: str = "graph") -> None:
    """Check that ids are positions, numbers are in range and the listed order is legal.

    Args:
        graph: The graph to check.
        where: What error messages call the graph.

    Raises:
        BadInput: It makes no sense; the message names the place and the reason.
    """
    _Check(graph, where).run()


class _Check:
    def __init__(self, graph: Graph, where: str) -> None:
        self.graph = graph
        self.where = where

    def fail(self, place: str, reason: str) -> BadInput:
        return BadInput(
            f"{self.where}: {place}: {reason}", hint="see the graph format in docs/formats.md"
        )

    def run(self) -> None:
        self.segments()
        self.sizes()
        self.ops()
        self.wiring()

    def segments(self) -> None:
        if self.graph.ops and not self.graph.segments:
            raise self.fail("$.segments", "there are ops but no segment")
        for i, segment in enumerate(self.graph.segments):
            if segment.region < 0:
                raise self.fail(f"$.segments[{i}].region", f"{segment.region} is negative")

    def size(self, place: str, size: int) -> int:
        if not 0 <= size <= INT64_MAX:
            raise self.fail(place, f"{size} is not a number of bytes (0 to 2^63-1)")
        return size

    def sizes(self) -> None:
        total = self.size("$.resident_bytes", self.graph.resident_bytes)
        for i, value in enumerate(self.graph.values):
            if value.id != i:
                raise self.fail(f"$.values[{i}].id", f"{value.id} is not its position {i}")
            total += self.size(f"$.values[{i}].bytes", value.bytes)
        total += max(
            (
                self.size(f"$.ops[{i}].workspace_bytes", op.workspace_bytes)
                for i, op in enumerate(self.graph.ops)
            ),
            default=0,
        )
        if total > MOST_BYTES:
            raise self.fail("$.values", "the bytes add up to more than 2^60")

    def ops(self) -> None:
        segment = 0
        for i, op in enumerate(self.graph.ops):
            place = f"$.ops[{i}]"
            if op.id != i:
                raise self.fail(f"{place}.id", f"{op.id} is not its position {i}")
            if not 0 <= op.seconds < float("inf"):
                raise self.fail(f"{place}.seconds", f"{op.seconds} is not a time")
            if not 0 <= op.segment < len(self.graph.segments):
                raise self.fail(f"{place}.segment", f"there is no segment {op.segment}")
            if op.segment < segment:
                raise self.fail(f"{place}.segment", "ops are not sorted by segment")
            segment = op.segment
            for field, ids in (("inputs", op.inputs), ("outputs", op.outputs)):
                self.ids(f"{place}.{field}", ids)

    def ids(self, place: str, ids: tuple[int, ...]) -> None:
        for j, value in enumerate(ids):
            if not 0 <= value < len(self.graph.values):
                raise self.fail(f"{place}[{j}]", f"there is no value {value}")
        if len(set(ids)) != len(ids):
            raise self.fail(place, "a value is listed twice")

    def wiring(self) -> None:
        self.ids("$.outputs", self.graph.outputs)
        producer: dict[int, int] = {}
        for i, op in enumerate(self.graph.ops):
            for j, value in enumerate(op.outputs):
                if value in producer:
                    raise self.fail(
                        f"$.ops[{i}].outputs[{j}]",
                        f"value {value} is already produced by op {producer[value]}",
                    )
                producer[value] = i
        for i, op in enumerate(self.graph.ops):
            for j, value in enumerate(op.inputs):
                if producer.get(value, -1) >= i:
                    raise self.fail(
                        f"$.ops[{i}].inputs[{j}]",
                        f"value {value} is produced later, by op {producer[value]}",
                    )
