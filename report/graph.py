"""A graph for people and, with stable keys, for programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from fastsa.planner.graph import Graph, Op
from fastsa.report import text
from fastsa.report.layout import PageFacts, Part, Table

TOP = 10


class SegmentSummary(msgspec.Struct, frozen=True):
    """One stretch of the step."""

    name: str
    region: int
    ops: int
    seconds: float
    output_bytes: int


class TargetSummary(msgspec.Struct, frozen=True):
    """All ops of one kind."""

    target: str
    ops: int
    seconds: float
    output_bytes: int


class OpSummary(msgspec.Struct, frozen=True):
    """One op, with its place in the user's code when that is known."""

    op: int
    target: str
    name: str | None
    module: str | None
    source: str | None
    seconds: float
    output_bytes: int
    workspace_bytes: int


class GraphReport(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds are those in the graph: of the device that `device` names, or estimates of it."""

    schema: Literal["fastsa.show.graph/1"] = "fastsa.show.graph/1"
    id: str
    name: str
    device: dict[str, Any] | None
    resident_bytes: int
    ops: int
    values: int
    recomputable_ops: int
    seconds: float
    segments: tuple[SegmentSummary, ...]
    slowest_targets: tuple[TargetSummary, ...]
    slowest_ops: tuple[OpSummary, ...]


def output_bytes(graph: Graph, op: Op) -> int:
    """Bytes of the storages that an op creates."""
    return sum(graph.values[value].bytes for value in op.outputs)


def summarize_op(graph: Graph, op: Op) -> OpSummary:
    """One op without its wiring."""
    return OpSummary(
        op=op.id,
        target=op.target,
        name=op.name,
        module=op.module,
        source=op.source,
        seconds=op.seconds,
        output_bytes=output_bytes(graph, op),
        workspace_bytes=op.workspace_bytes,
    )


def summarize(graph_id: str, graph: Graph) -> GraphReport:
    """The report of a stored graph."""
    slowest = sorted(graph.ops, key=lambda op: (-op.seconds, op.id))[:TOP]
    return GraphReport(
        id=graph_id,
        name=graph.name,
        device=graph.device,
        resident_bytes=graph.resident_bytes,
        ops=len(graph.ops),
        values=len(graph.values),
        recomputable_ops=sum(op.recomputable for op in graph.ops),
        seconds=graph.base_seconds,
        segments=_segments(graph),
        slowest_targets=_targets(graph)[:TOP],
        slowest_ops=tuple(summarize_op(graph, op) for op in slowest),
    )


def _segments(graph: Graph) -> tuple[SegmentSummary, ...]:
    members = defaultdict[int, list[Op]](list)
    for op in graph.ops:
        members[op.segment].append(op)
    return tuple(
        SegmentSummary(
            segment.name,
            segment.region,
            len(members[position]),
            float(sum(op.seconds for op in members[position])),
            sum(output_bytes(graph, op) for op in members[position]),
        )
        for position, segment in enumerate(graph.segments)
    )


def _targets(graph: Graph) -> tuple[TargetSummary, ...]:
    members = defaultdict[str, list[Op]](list)
    for op in graph.ops:
        members[op.target].append(op)
    summaries = [
        TargetSummary(
            target,
            len(ops),
            float(sum(op.seconds for op in ops)),
            sum(output_bytes(graph, op) for op in ops),
        )
        for target, ops in members.items()
    ]
    return tuple(sorted(summaries, key=lambda each: (-each.seconds, each.target)))


def render(report: GraphReport) -> Iterator[Part]:
    """The report for people."""
    yield _overview(report)
    yield _by_segment(report)
    yield _by_target(report)
    yield _by_op(report)


def _overview(report: GraphReport) -> PageFacts:
    device = str(report.device.get("name", "")) if report.device else ""
    recomputable = f"{text.of_count(report.recomputable_ops)} of them recomputable"
    return PageFacts(
        f"Graph {text.of_id(report.id)}",
        [
            ("name", report.name),
            ("seconds are of", device or "no named device"),
            ("ops", f"{text.of_count(report.ops)}, {recomputable}"),
            ("values", text.of_count(report.values)),
            ("resident", text.of_bytes(report.resident_bytes)),
            ("step time", f"{text.of_seconds(report.seconds)}, sum over ops, unplanned"),
        ],
    )


def _by_segment(report: GraphReport) -> Table:
    rows = [
        (
            each.name,
            str(each.region),
            text.of_count(each.ops),
            text.of_seconds(each.seconds),
            text.of_bytes(each.output_bytes),
        )
        for each in report.segments
    ]
    return Table("Segments", ["segment", "region>", "ops>", "seconds>", "outputs>"], rows)


def _by_target(report: GraphReport) -> Table:
    rows = [
        (
            each.target,
            text.of_count(each.ops),
            text.of_seconds(each.seconds),
            text.of_share(each.seconds, report.seconds),
            text.of_bytes(each.output_bytes),
        )
        for each in report.slowest_targets
    ]
    columns = ["target", "ops>", "seconds>", "share>", "outputs>"]
    return Table("Most time by kind of op", columns, rows)


def _by_op(report: GraphReport) -> Table:
    rows = [
        (
            str(each.op),
            each.target,
            text.of_seconds(each.seconds),
            text.of_bytes(each.output_bytes),
            text.of_bytes(each.workspace_bytes) if each.workspace_bytes else "",
            each.module,
            text.of_source(each.source),
        )
        for each in report.slowest_ops
    ]
    columns = ["op>", "target", "seconds>", "outputs>", "workspace>", "module", "source"]
    return Table("Most time by op", columns, rows)
