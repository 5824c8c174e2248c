"""Graph and plan files: what is written is read back, what is damaged is refused with a reason."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from fastsa.errors import BadInput
from fastsa.planner import graph as graphs
from fastsa.planner import plan as plans
from fastsa.planner.graph import Graph
from fastsa.planner.native import native
from fastsa.planner.solve import plan
from support.planner_graphs import chain, legal_graphs
from support.properties import property_test

Document = dict[str, Any]


@property_test(25, graph=legal_graphs())
def test_a_graph_is_read_back(graph: Graph) -> None:
    again = graphs.decode(graph.encode())
    assert again == graph
    assert again.hash() == graph.hash()


@property_test(25, graph=legal_graphs(), name=st.sampled_from(["g.json", "g.json.gz"]))
def test_a_plan_file_is_read_back(tmp_path: Path, graph: Graph, name: str) -> None:
    made = plan(graph, 2**40, iterations=100, time_limit=None)
    made.write(tmp_path / name)
    assert plans.read(tmp_path / name) == made


@property_test(25, graph=legal_graphs())
def test_the_hash_knows_no_seconds_and_no_names(graph: Graph) -> None:
    document = json.loads(graph.encode())
    document["name"] = "another"
    for op in document["ops"]:
        op["seconds"] += 1
        op["name"] = "another"
    assert graphs.decode(json.dumps(document).encode()).hash() == graph.hash()


@pytest.mark.parametrize("length", [0, 1, 2, 50, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    for name, data in (
        ("g.json", chain(4).encode()),
        ("g.json.gz", gzip.compress(chain(4).encode())),
    ):
        path = tmp_path / name
        path.write_bytes(data[:length])
        with pytest.raises(BadInput, match=name):
            graphs.read(path)


def put(*place: Any, to: Any) -> Callable[[Document], None]:
    def damage(document: Any) -> None:
        for step in place[:-1]:
            document = document[step]
        document[place[-1]] = to

    return damage


DAMAGE: dict[str, tuple[Callable[[Document], None], str]] = {
    "another schema": (put("schema", to="fastsa.graph/2"), "$.schema"),
    "unknown field": (put("surprise", to=1), "surprise"),
    "unknown field of an op": (put("ops", 1, "surprise", to=1), "surprise"),
    "text for a number": (put("values", 0, "bytes", to="8"), "$.values[0].bytes"),
    "a fraction of a byte": (put("values", 0, "bytes", to=8.5), "$.values[0].bytes"),
    "negative bytes": (put("values", 0, "bytes", to=-1), "$.values[0].bytes"),
    "more than 2^63": (put("values", 0, "bytes", to=2**63), "$.values[0].bytes"),
    "a sum above 2^60": (put("values", 0, "bytes", to=2**60), "2^60"),
    "not a number of seconds": (put("ops", 2, "seconds", to=float("nan")), "invalid"),
    "negative seconds": (put("ops", 2, "seconds", to=-1.0), "$.ops[2].seconds"),
    "endless seconds": (put("ops", 2, "seconds", to=float("inf")), "invalid"),
    "seconds out of range": (put("ops", 2, "seconds", to=10**400), "$.ops[2].seconds"),
    "an id out of place": (put("ops", 1, "id", to=7), "$.ops[1].id"),
    "no such value": (put("ops", 1, "inputs", to=[999]), "$.ops[1].inputs[0]"),
    "a negative value id": (put("ops", 1, "inputs", to=[-1]), "$.ops[1].inputs[0]"),
    "an id beyond int32": (put("outputs", to=[2**40]), "$.outputs[0]"),
    "a value listed twice": (put("ops", 1, "inputs", to=[0, 0]), "$.ops[1].inputs"),
    "a cycle": (put("ops", 0, "inputs", to=[3]), "$.ops[0].inputs[0]"),
    "an op that reads itself": (put("ops", 0, "inputs", to=[0]), "$.ops[0].inputs[0]"),
    "two producers": (put("ops", 1, "outputs", to=[0]), "$.ops[1].outputs[0]"),
    "no such segment": (put("ops", 0, "segment", to=5), "$.ops[0].segment"),
    "unsorted segments": (put("ops", 0, "segment", to=1), "$.ops[1].segment"),
    "no segments": (put("segments", to=[]), "$.segments"),
    "negative workspace": (put("ops", 0, "workspace_bytes", to=-5), "$.ops[0].workspace_bytes"),
}


@pytest.mark.promise("fault-14", "fault-16")
@pytest.mark.parametrize("name", DAMAGE)
def test_a_senseless_graph_is_refused_with_its_place(name: str) -> None:
    damage, place = DAMAGE[name]
    document = json.loads(chain(4).encode())
    damage(document)
    with pytest.raises(BadInput) as caught:
        graphs.decode(json.dumps(document).encode(), "somewhere.json")
    assert "somewhere.json" in caught.value.message
    assert place in caught.value.message
    assert caught.value.hint


@pytest.mark.promise("fault-15")
def test_the_core_refuses_what_it_cannot_hold() -> None:
    graph = chain(3)
    wrong = type(graph)(
        **{**{f: getattr(graph, f) for f in graph.__struct_fields__}, "outputs": (99,)}
    )
    with pytest.raises(BadInput, match="no value 99"):
        native(wrong)


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)  # a writer need not wait for it, and a graph fits in a pipe
    chain(3).write(pipe)
    os.set_blocking(reader, False)
    assert os.read(reader, 2**20) == chain(3).encode()
    os.close(reader)
    assert pipe.is_fifo()
