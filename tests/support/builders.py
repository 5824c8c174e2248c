"""Small synthetic graphs, plans, profiles and runs that make sense together."""

from __future__ import annotations

from fastsa.cache.keys import PlanKey
from fastsa.planner.graph import Graph, Op, Segment, Value
from fastsa.planner.plan import Plan, Planner, Status
from fastsa.records.margin import Margin
from fastsa.records.profile import MeasuredRegion, Profile, Saved
from fastsa.records.run import Run
from fastsa.records.timeline import CATEGORIES, PHASES, Allocation, Site, Timeline
from fastsa.records.verdict import Verdict

DEVICE = "Test Device 1"
KIB = 1024


def graph(layers: int = 3, *, scale: float = 1.0, size: int = KIB, name: str = "toy") -> Graph:
    """A chain: each layer's forward output is read by its backward, last layer first."""
    forward = [
        Op(
            id=i,
            target="aten.mm.default",
            segment=0,
            seconds=1e-4 * scale,
            inputs=(i,),
            outputs=(i + 1,),
            recomputable=True,
            workspace_bytes=256,
            name=f"mm_{i}",
            source=f"train.py:{10 + i}",
            module=f"blocks.{i}",
        )
        for i in range(layers)
    ]
    backward = [
        Op(
            id=layers + i,
            target="aten.mm_backward.default",
            segment=1,
            seconds=2e-4 * scale,
            inputs=tuple(dict.fromkeys((layers - i, layers + i))),
            outputs=(layers + i + 1,),
            recomputable=False,
            name=f"mm_backward_{i}",
        )
        for i in range(layers)
    ]
    return Graph(
        schema="fastsa.graph/1",
        name=name,
        resident_bytes=10 * KIB,
        segments=(Segment("forward", 0), Segment("backward", 0)),
        values=tuple(Value(i, size) for i in range(2 * layers + 1)),
        ops=tuple(forward + backward),
        outputs=(2 * layers,),
        device={"name": DEVICE},
    )


def plan(
    of: Graph,
    *,
    peak: int = 4 * KIB,
    seconds: float = 1.5e-3,
    budget: int | None = None,
    status: Status = "feasible",
    seed: int = 0,
) -> Plan:
    """A plan that recomputes the first op at the start of the backward."""
    layers = len(of.ops) // 2
    sequence = (*range(layers), 0, *range(layers, 2 * layers))
    return Plan(
        schema="fastsa.plan/1",
        graph=of.hash(),
        status=status,
        step_budget_bytes=peak if budget is None else budget,
        sequence=() if status == "infeasible" else sequence,
        segment_starts=(0, layers),
        peak_bytes=peak,
        seconds=seconds,
        base_peak_bytes=8 * KIB,
        base_seconds=of.base_seconds,
        lower_bound_seconds=1e-5,
        lower_bound_assumes="every op is recomputed at most once",
        minimum_budget_bytes=2 * KIB,
        minimum_budget_op=layers,
        planner=Planner("0.1.0", "fastsa", seed, 1, 0.25, 1000),
    )


def key(of: Graph, *, device: str = DEVICE, cuda: str | None = None) -> PlanKey:
    """The key under which plans of a graph are stored."""
    return PlanKey(graph=of.hash(), device=device, torch="2.13.0", cuda=cuda, planner="0.1.0")


def timeline(allocations: int = 8) -> Timeline:
    """Overlapping blocks of all categories; every fourth was there before the step."""
    sites = tuple(
        Site(
            category,
            phase=PHASES[i % len(PHASES)],
            op=f"aten::op_{i}" if i % 2 else None,
            module=f"blocks.{i}.mlp" if i % 5 else None,
            source=f"train.py:{i}" if i % 3 else None,
            node="AddmmBackward0" if category == "activation" else None,
        )
        for i, category in enumerate(CATEGORIES)
    )
    blocks = tuple(
        Allocation(
            bytes=KIB * (i + 1),
            birth=None if i % 4 == 0 else i,
            death=None if i % 4 == 0 else i + 3,
            birth_seconds=None if i % 4 == 0 else i * 1e-5,
            death_seconds=None if i % 4 == 0 else (i + 3) * 1e-5,
            site=i % len(sites),
        )
        for i in range(allocations)
    )
    resident = sum(block.bytes for block in blocks if block.birth is None)
    return Timeline(
        events=2 * allocations,
        resident_bytes=resident,
        peak_bytes=resident + 3 * KIB,
        peak_event=allocations // 2,
        seconds=2e-5 * allocations,
        sites=sites,
        allocations=blocks,
    )


def profile(
    *graphs: Graph,
    device: str = DEVICE,
    created: str = "2026-01-02T03:04:05+00:00",
    allocations: int = 8,
    model: str = "__main__.Net",
) -> Profile:
    """A profile with one region per graph; a region's captured hash is `captured(graph)`."""
    measured = graphs or (graph(),)
    blocks = timeline(allocations)
    return Profile(
        schema="fastsa.profile/2",
        created=created,
        script="train.py",
        arguments=("--steps", "3"),
        model=model,
        parameters=1234,
        shape="float32[8,16]",
        device=device,
        versions={"torch": "2.13.0", "fastsa": "0.1.0"},
        resident_bytes=blocks.resident_bytes,
        peak_bytes=blocks.peak_bytes,
        step_seconds=0.25,
        timeline=blocks,
        saved=(Saved("AddmmBackward0", "mat1", 4 * KIB, (8, 16), "float32", False),),
        regions=tuple(MeasuredRegion(captured(each), each) for each in measured),
    )


def captured(measured: Graph) -> str:
    """A captured hash for a measured graph."""
    return "sha256:" + measured.hash()[-1] * 32 + measured.hash()[-32:]


def run(plan_id: str, *, measured: int | None = 5 * KIB, steps: int = 3) -> Run:
    """A run of a plan."""
    return Run(
        schema="fastsa.run/1",
        created="2026-01-02T03:05:05+00:00",
        script="train.py",
        model="__main__.Net",
        shape="float32[8,16]",
        device=DEVICE,
        versions={"torch": "2.13.0"},
        plan=plan_id,
        plan_origin="found",
        process_budget_bytes=16 * KIB,
        resident_bytes=10 * KIB,
        predicted_peak_bytes=14 * KIB,
        measured_peak_bytes=measured,
        predicted_step_seconds=0.26,
        measured_step_seconds=0.27 if measured is not None else None,
        steps=steps,
    )


def verdict(
    plan_id: str, *, identical: bool | None = True, measured: int | None = 15 * KIB
) -> Verdict:
    """A verdict on a plan."""
    return Verdict(
        plan=plan_id,
        created="2026-01-02T03:06:05+00:00",
        script="train.py",
        model="__main__.Net",
        shape="float32[8,16]",
        device=DEVICE,
        versions={"torch": "2.13.0"},
        steps=3,
        tensors=51,
        ops=None,
        seeded=False,
        identical_to_compiled=identical,
        identical_to_eager=identical,
        compiled_identical_to_eager=True,
        deterministic=None if identical else True,
        differences=(),
        warnings=(),
        process_budget_bytes=16 * KIB,
        predicted_peak_bytes=14 * KIB,
        measured_peak_bytes=measured,
        compiled_peak_bytes=18 * KIB,
        eager_peak_bytes=20 * KIB,
        predicted_step_seconds=0.26,
        measured_step_seconds=0.27 if measured is not None else None,
        compiled_step_seconds=0.21,
        eager_step_seconds=0.22,
    )


def margin(of: Graph, size: int, *, device: str = DEVICE, run: str = "") -> Margin:
    """A margin of a graph's plans."""
    return Margin("fastsa.margin/1", of.hash(), device, size, "2026-01-02T03:06:05+00:00", run)
