"""A plan for people and, with stable keys, for programs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from fastsa.cache.plans import StoredPlan
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Planner
from fastsa.records.margin import Margin
from fastsa.records.run import Run
from fastsa.records.verdict import Verdict
from fastsa.report import graph as graphs
from fastsa.report import text
from fastsa.report.graph import OpSummary
from fastsa.report.layout import PageFacts, Part, Table

TOP = 10


class RecomputedOps(msgspec.Struct, frozen=True):
    """What one op, or all ops of one module, add by running again. Bytes are of the outputs."""

    label: str
    times: int
    bytes: int
    seconds: float
    source: str | None = None


class RunLine(msgspec.Struct, frozen=True):
    """One use of the plan; what was not measured is None."""

    id: str
    created: str
    steps: int
    predicted_peak_bytes: int
    measured_peak_bytes: int | None
    predicted_step_seconds: float
    measured_step_seconds: float | None


class PlanReport(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes are the step's own, without what is resident; all but the runs is predicted.

    `margin_bytes` are kept free of the graph's plans, since a run took more than was predicted.
    Without the graph in the store, `minimum_budget_op` and the `recomputed_` lists are unknown.
    """

    schema: Literal["fastsa.show.plan/2"] = "fastsa.show.plan/2"
    id: str
    created: str
    graph: str
    graph_name: str | None
    device: str
    torch: str
    cuda: str | None
    status: str
    step_budget_bytes: int
    peak_bytes: int
    base_peak_bytes: int
    seconds: float
    base_seconds: float
    extra_seconds: float
    lower_bound_seconds: float
    lower_bound_assumes: str
    minimum_budget_bytes: int
    minimum_budget_op_id: int
    minimum_budget_op: OpSummary | None
    curve: str | None
    recomputations: int
    recomputed_ops: tuple[RecomputedOps, ...]
    recomputed_modules: tuple[RecomputedOps, ...]
    planner: Planner
    runs: tuple[RunLine, ...]
    verdict: Verdict | None
    margin_bytes: int


def summarize(
    stored: StoredPlan,
    graph: Graph | None,
    runs: Iterable[Run],
    verdict: Verdict | None = None,
    margin: Margin | None = None,
) -> PlanReport:
    """The report of a stored plan, of its graph if that is stored too, and of what came of it."""
    plan = stored.plan
    again = [(op, times - 1) for op, times in Counter(plan.sequence).items() if times > 1]
    return PlanReport(
        id=stored.id,
        created=stored.created,
        graph=plan.graph,
        graph_name=graph.name if graph else None,
        device=stored.key.device,
        torch=stored.key.torch,
        cuda=stored.key.cuda,
        status=plan.status,
        step_budget_bytes=plan.step_budget_bytes,
        peak_bytes=plan.peak_bytes,
        base_peak_bytes=plan.base_peak_bytes,
        seconds=plan.seconds,
        base_seconds=plan.base_seconds,
        extra_seconds=plan.extra_seconds,
        lower_bound_seconds=plan.lower_bound_seconds,
        lower_bound_assumes=plan.lower_bound_assumes,
        minimum_budget_bytes=plan.minimum_budget_bytes,
        minimum_budget_op_id=plan.minimum_budget_op,
        minimum_budget_op=_op(graph, plan.minimum_budget_op),
        curve=stored.curve,
        recomputations=sum(times for _, times in again),
        recomputed_ops=_ops(graph, again)[:TOP] if graph else (),
        recomputed_modules=_modules(graph, again)[:TOP] if graph else (),
        planner=plan.planner,
        runs=tuple(_line(run) for run in runs),
        verdict=verdict,
        margin_bytes=margin.bytes if margin else 0,
    )


def _op(graph: Graph | None, op: int) -> OpSummary | None:
    if graph is None or not 0 <= op < len(graph.ops):
        return None
    return graphs.summarize_op(graph, graph.ops[op])


def _ops(graph: Graph, again: list[tuple[int, int]]) -> tuple[RecomputedOps, ...]:
    found = []
    for position, times in again:
        op = graph.ops[position]
        size = graphs.output_bytes(graph, op)
        label = f"{op.name or f'op {op.id}'} {op.target}"
        found.append(RecomputedOps(label, times, times * size, times * op.seconds, op.source))
    return _by_seconds(found)


def _modules(graph: Graph, again: list[tuple[int, int]]) -> tuple[RecomputedOps, ...]:
    members = defaultdict[str, list[tuple[int, int]]](list)
    for position, times in again:
        members[graph.ops[position].module or "(no module)"].append((position, times))
    found = []
    for module, ops in members.items():
        each = _ops(graph, ops)
        found.append(
            RecomputedOps(
                module,
                sum(one.times for one in each),
                sum(one.bytes for one in each),
                sum(one.seconds for one in each),
            )
        )
    return _by_seconds(found)


def _by_seconds(found: list[RecomputedOps]) -> tuple[RecomputedOps, ...]:
    return tuple(sorted(found, key=lambda each: (-each.seconds, -each.bytes, each.label)))


def _line(run: Run) -> RunLine:
    return RunLine(
        run.id(),
        run.created,
        run.steps,
        run.predicted_peak_bytes,
        run.measured_peak_bytes,
        run.predicted_step_seconds,
        run.measured_step_seconds,
    )


def render(report: PlanReport) -> Iterator[Part]:
    """The report for people."""
    yield PageFacts(f"Plan {text.of_id(report.id)}", _facts(report))
    if report.recomputed_ops:
        yield _recomputed("Most recomputed ops, predicted", report.recomputed_ops)
        yield _recomputed("Most recomputed modules, predicted", report.recomputed_modules)
    if report.runs:
        yield _runs(report.runs)


def _runs(runs: tuple[RunLine, ...]) -> Table:
    rows = [
        (
            text.of_id(each.id),
            text.of_time(each.created),
            text.of_count(each.steps),
            text.of_bytes(each.predicted_peak_bytes),
            "-" if each.measured_peak_bytes is None else text.of_bytes(each.measured_peak_bytes),
            text.of_seconds(each.predicted_step_seconds),
            "-"
            if each.measured_step_seconds is None
            else text.of_seconds(each.measured_step_seconds),
        )
        for each in runs
    ]
    columns = ["id", "date", "steps>", "peak predicted>", "measured>"]
    return Table("Runs, whole process", [*columns, "step predicted>", "measured>"], rows)


def _facts(report: PlanReport) -> list[tuple[str, str | None]]:
    versions = f"torch {report.torch}" + (f", CUDA {report.cuda}" if report.cuda else "")
    maker = report.planner
    return [
        ("status", report.status),
        ("checked", report.verdict.line if report.verdict else "not checked"),
        ("graph", f"{text.of_id(report.graph)} {report.graph_name or '(not stored)'}"),
        ("for", f"{report.device}, {versions}"),
        ("budget", f"{text.of_bytes(report.step_budget_bytes)}, the step's own"),
        (
            "peak",
            f"{text.of_bytes(report.base_peak_bytes)} unplanned,"
            f" {text.of_bytes(report.peak_bytes)} planned, predicted",
        ),
        (
            "step time",
            f"{text.of_seconds(report.base_seconds)} unplanned,"
            f" {text.of_seconds(report.seconds)} planned, predicted",
        ),
        (
            "extra time",
            f"{text.of_seconds(report.extra_seconds)}"
            f" ({text.of_share(report.extra_seconds, report.base_seconds)}) for"
            f" {text.of_count(report.recomputations)} recomputations, predicted",
        ),
        (
            "bound",
            f"no plan takes less than {text.of_seconds(report.lower_bound_seconds)} extra,"
            f" assuming {report.lower_bound_assumes}",
        ),
        ("margin", _margin(report)),
        ("curve", f"one of curve {text.of_id(report.curve)}" if report.curve else None),
        ("minimum budget", f"{text.of_bytes(report.minimum_budget_bytes)}, {_culprit(report)}"),
        (
            "made by",
            f"{maker.algorithm} {maker.version}, seed {maker.seed},"
            f" {text.of_seconds(maker.wall_seconds)},"
            f" {text.of_count(maker.iterations)} iterations",
        ),
    ]


def _margin(report: PlanReport) -> str | None:
    if not report.margin_bytes:
        return None
    return f"{text.of_bytes(report.margin_bytes)} kept free: a run took more than was predicted"


def _culprit(report: PlanReport) -> str:
    op = report.minimum_budget_op
    if op is None:
        return f"set by op {report.minimum_budget_op_id}"
    parts = [op.name, op.target, op.module, f"at {op.source}" if op.source else None]
    return "set by " + ", ".join(part for part in parts if part)


def _recomputed(title: str, found: tuple[RecomputedOps, ...]) -> Table:
    rows = [
        (
            each.label,
            text.of_count(each.times),
            text.of_seconds(each.seconds),
            text.of_bytes(each.bytes),
            text.of_source(each.source),
        )
        for each in found
    ]
    return Table(title, ["what", "times>", "seconds>", "bytes>", "source"], rows)
