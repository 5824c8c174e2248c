"""Random legal graphs, small enough to reason about and odd enough to matter."""

from __future__ import annotations

import gzip
import os
import random
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from fastsa.planner import graph as graphs
from fastsa.planner.graph import Graph, Op, Segment, Value
from support.paths import GRAPHS

REAL = GRAPHS
SIZES = (0, 1, 2, 7, 64, 512, 4096, 2**40)


def build(
    ops: list[tuple[int, list[int], list[int]]],
    sizes: list[int],
    *,
    regions: tuple[int, ...] = (0, 0),
    outputs: tuple[int, ...] = (),
    fixed: frozenset[int] = frozenset(),
    seconds: list[float] | None = None,
) -> Graph:
    """A graph of ops given as (segment, inputs, outputs); those in `fixed` run only once."""
    return Graph(
        schema="fastsa.graph/1",
        name="built",
        resident_bytes=0,
        segments=tuple(Segment(f"s{i}", region) for i, region in enumerate(regions)),
        values=tuple(Value(i, size) for i, size in enumerate(sizes)),
        ops=tuple(
            Op(
                id=i,
                target="op",
                segment=segment,
                seconds=seconds[i] if seconds else 1.0,
                inputs=tuple(inputs),
                outputs=tuple(made),
                recomputable=i not in fixed,
            )
            for i, (segment, inputs, made) in enumerate(ops)
        ),
        outputs=outputs,
    )


def chain(length: int, size: int = 8) -> Graph:
    """A forward chain, and a backward that reads it in reverse: the textbook case."""
    ops: list[tuple[int, list[int], list[int]]] = [(0, [], [0])]
    ops += [(0, [i - 1], [i]) for i in range(1, length)]
    gradient = length
    ops.append((1, [length - 1], [gradient]))
    for i in reversed(range(length)):
        ops.append((1, [gradient, i], [gradient + 1]))
        gradient += 1
    return build(ops, [size] * (gradient + 1), outputs=(gradient,))


@st.composite
def legal_graphs(draw: st.DrawFn, max_ops: int = 14) -> Graph:
    """Any legal graph: several outputs, unused values, zero sizes and costs, many regions."""
    segments = draw(st.integers(1, 5))
    regions = draw(st.lists(st.integers(0, 2), min_size=segments, max_size=segments))
    count = draw(st.integers(0, max_ops))
    homes = sorted(draw(st.lists(st.integers(0, segments - 1), min_size=count, max_size=count)))
    sizes: list[int] = draw(st.lists(st.sampled_from(SIZES), max_size=3))  # inputs of the step
    ops = []
    for i, home in enumerate(homes):
        known = list(range(len(sizes)))
        inputs = draw(st.lists(st.sampled_from(known), unique=True, max_size=4)) if known else []
        made = draw(st.lists(st.sampled_from(SIZES), max_size=3))
        outputs = tuple(range(len(sizes), len(sizes) + len(made)))
        sizes += made
        ops.append(
            Op(
                id=i,
                target=draw(st.sampled_from(("mm", "relu", "π\n"))),
                segment=home,
                seconds=draw(st.sampled_from((0.0, 1e-6, 1.0, 3.5))),
                inputs=tuple(inputs),
                outputs=outputs,
                recomputable=draw(st.booleans()),
                workspace_bytes=draw(st.sampled_from((0, 0, 5, 1000))),
                module=draw(st.sampled_from((None, "layers.0"))),
            )
        )
    values = list(range(len(sizes)))
    results = draw(st.lists(st.sampled_from(values), unique=True)) if values else []
    return Graph(
        schema="fastsa.graph/1",
        name=draw(st.text(max_size=5)),
        resident_bytes=draw(st.sampled_from((0, 123))),
        segments=tuple(Segment(f"s{i}", region) for i, region in enumerate(regions)),
        values=tuple(Value(i, size) for i, size in enumerate(sizes)),
        ops=tuple(ops),
        outputs=tuple(results),
        device=draw(st.sampled_from((None, {"name": "cpu"}))),
    )


def random_training_graph(seed: int, length: int = 20) -> Graph:
    """A joint graph with skips: forward ops, and a backward op for each that reads its inputs."""
    source = random.Random(seed)
    ops: list[tuple[int, list[int], list[int]]] = []
    sizes: list[int] = []

    def make(segment: int, inputs: list[int]) -> int:
        sizes.append(source.choice((1, 4, 16, 64)))
        ops.append((segment, sorted(set(inputs)), [len(sizes) - 1]))
        return len(sizes) - 1

    forward = [make(0, [])]
    for _ in range(length - 1):
        forward.append(make(0, [forward[-1], source.choice(forward)]))
    gradient = make(1, [forward[-1]])
    for op in reversed(range(length)):
        gradient = make(1, [gradient, op, *ops[op][1]])
    seconds = [source.choice((1.0, 2.0, 5.0)) for _ in ops]
    return build(ops, sizes, outputs=(gradient,), seconds=seconds)


def real_paths() -> list[Path]:
    """The benchmark graphs, or those of the folder FASTSA_GRAPHS."""
    return sorted(Path(os.environ.get("FASTSA_GRAPHS", REAL)).glob("*.graph.json.gz"))


@cache
def real(name: str) -> Graph:
    """A benchmark graph."""
    path = REAL / f"{name}.graph.json.gz"
    return graphs.decode(gzip.decompress(path.read_bytes()), str(path))
