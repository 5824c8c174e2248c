"""Rows from documents: what each table's plain columns say about a payload."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

import msgspec

from fastsa.cache import integrity
from fastsa.cache.keys import PlanKey, bare
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.planner.step import region_names
from fastsa.records.margin import Margin
from fastsa.records.profile import Profile
from fastsa.records.run import Run
from fastsa.records.verdict import Verdict

Record = dict[str, Any]


def now() -> str:
    """The time as ISO 8601, UTC, in seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def payload(data: bytes) -> Record:
    """The two columns that every payload has."""
    return {"sha256": integrity.checksum(data), "payload": integrity.pack(data)}


def profile_record(profile: Profile, data: bytes) -> Record:
    """The row of a profile whose document is `data`."""
    return {
        "id": integrity.checksum(data),
        "created": profile.created,
        "script": profile.script,
        "arguments": json.dumps(profile.arguments),
        "model": profile.model,
        "parameters": profile.parameters,
        "shape": profile.shape,
        "device": profile.device,
        "torch": profile.versions.get("torch"),
        "resident_bytes": profile.resident_bytes,
        "peak_bytes": profile.peak_bytes,
        "step_seconds": profile.step_seconds,
        "complete": not (profile.missing or profile.ended),
        **payload(data),
    }


def allocation_rows(profile: Profile, number: int) -> Iterator[tuple[Any, ...]]:
    """One row per allocation of the profile in row `number`, in the order of the columns."""
    for position, block in enumerate(profile.timeline.allocations):
        yield (
            number,
            position,
            block.bytes,
            block.birth,
            block.death,
            block.birth_seconds,
            block.death_seconds,
            block.site,
        )


def site_records(profile: Profile, number: int) -> Iterator[Record]:
    """One row per site of the profile in row `number`."""
    for position, site in enumerate(profile.timeline.sites):
        yield {"profile": number, "site": position, **msgspec.structs.asdict(site)}


def graph_record(graph: Graph, data: bytes, captured_hash: str | None) -> Record:
    """The row of a graph of no profile."""
    device = (graph.device or {}).get("name")
    return {
        "hash": bare(graph.hash()),
        "captured_hash": bare(captured_hash) if captured_hash else None,
        "profile": None,
        "region": None,
        "created": now(),
        "name": graph.name,
        "device": device if isinstance(device, str) else None,
        "op_count": len(graph.ops),
        "value_count": len(graph.values),
        "segment_count": len(graph.segments),
        "resident_bytes": graph.resident_bytes,
        "base_seconds": graph.base_seconds,
        **payload(data),
    }


def region_records(graph: Graph, row: Record, number: int) -> Iterator[Record]:
    """One row per captured region in the graph of `row`, which has got `number`."""
    names = region_names(graph) or (row["captured_hash"],)
    for region, name in enumerate(names):
        if name:
            yield {"graph": number, "region": region, "captured_hash": bare(name)}


def op_records(graph: Graph, number: int) -> Iterator[Record]:
    """One row per op of the graph in row `number`."""
    for op in graph.ops:
        yield {
            "graph": number,
            "op": op.id,
            "target": op.target,
            "name": op.name,
            "module": op.module,
            "source": op.source,
            "segment": op.segment,
            "seconds": op.seconds,
            "workspace_bytes": op.workspace_bytes,
            "output_bytes": sum(graph.values[value].bytes for value in op.outputs),
            "recomputable": op.recomputable,
        }


def plan_record(
    plan: Plan, data: bytes, plan_id: str, key: PlanKey, curve_id: str | None
) -> Record:
    """The row of the plan `plan_id`, made for `key`, alone or as one of a curve."""
    return {
        "id": plan_id,
        "key": key.digest(),
        "graph": bare(plan.graph),
        "device": key.device,
        "torch": key.torch,
        "cuda": key.cuda,
        "planner": key.planner,
        "created": now(),
        "status": plan.status,
        "algorithm": plan.planner.algorithm,
        "step_budget_bytes": plan.step_budget_bytes,
        "peak_bytes": plan.peak_bytes,
        "seconds": plan.seconds,
        "base_peak_bytes": plan.base_peak_bytes,
        "base_seconds": plan.base_seconds,
        "lower_bound_seconds": plan.lower_bound_seconds,
        "minimum_budget_bytes": plan.minimum_budget_bytes,
        "curve": curve_id,
        **payload(data),
    }


def run_record(run: Run, data: bytes) -> Record:
    """The row of a run whose document is `data`."""
    return {
        "id": integrity.checksum(data),
        "plan": bare(run.plan),
        "created": run.created,
        "script": run.script,
        "model": run.model,
        "shape": run.shape,
        "device": run.device,
        "plan_origin": run.plan_origin,
        "process_budget_bytes": run.process_budget_bytes,
        "resident_bytes": run.resident_bytes,
        "predicted_peak_bytes": run.predicted_peak_bytes,
        "measured_peak_bytes": run.measured_peak_bytes,
        "predicted_step_seconds": run.predicted_step_seconds,
        "measured_step_seconds": run.measured_step_seconds,
        "steps": run.steps,
        **payload(data),
    }


def verdict_record(verdict: Verdict, data: bytes) -> Record:
    """The row of a verdict whose document is `data`."""
    return {
        "id": integrity.checksum(data),
        "plan": bare(verdict.plan),
        "created": verdict.created,
        "script": verdict.script,
        "model": verdict.model,
        "shape": verdict.shape,
        "device": verdict.device,
        "steps": verdict.steps,
        "identical_to_compiled": verdict.identical_to_compiled,
        "identical_to_eager": verdict.identical_to_eager,
        "within_budget": verdict.within_budget,
        "process_budget_bytes": verdict.process_budget_bytes,
        "predicted_peak_bytes": verdict.predicted_peak_bytes,
        "measured_peak_bytes": verdict.measured_peak_bytes,
        "predicted_step_seconds": verdict.predicted_step_seconds,
        "measured_step_seconds": verdict.measured_step_seconds,
        **payload(data),
    }


def margin_record(margin: Margin, data: bytes) -> Record:
    """The row of a margin whose document is `data`."""
    return {
        "id": integrity.checksum(data),
        "graph": bare(margin.graph),
        "device": margin.device,
        "bytes": margin.bytes,
        "run": bare(margin.run) or None,
        "created": margin.created,
        **payload(data),
    }
