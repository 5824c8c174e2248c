"""`fastsa plan` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastsa.cli import plan as plan_command
from fastsa.planner import graph as graphs
from fastsa.planner import plan as plans
from fastsa.planner.options import ALGORITHMS
from fastsa.planner.validation import validate
from support.commands import Fastsa
from support.planner_graphs import REAL, build, chain

GPT2 = REAL / "gpt2_eager.graph.json.gz"


@pytest.fixture
def run(fastsa: Fastsa) -> Fastsa:
    return lambda *arguments: fastsa("plan", *map(str, arguments))


def test_a_plan_is_written(run: Fastsa, tmp_path: Path) -> None:
    output = tmp_path / "plan.json.gz"
    done = run("--graph", GPT2, "--budget", "50%", "--output", output, "--iterations", 2000)
    assert done.returncode == 0, done.stderr
    assert "predicted" in done.stdout
    assert done.stderr == ""
    plan = plans.read(output)
    validate(graphs.read(GPT2), plan)
    assert plan.fits
    assert plan.step_budget_bytes == plan.base_peak_bytes // 2


def test_json_is_the_plan_without_its_sequence(run: Fastsa, tmp_path: Path) -> None:
    output = tmp_path / "plan.json"
    done = run(
        "--graph", GPT2, "--budget", "60%", "--output", output, "--iterations", 2000, "--json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_bytes())
    del document["sequence"]
    assert json.loads(done.stdout) == document


def test_a_size_is_less_what_is_resident(run: Fastsa, tmp_path: Path) -> None:
    graph = graphs.read(GPT2)
    output = tmp_path / "plan.json"
    done = run("--graph", GPT2, "--budget", "20GiB", "--output", output, "--iterations", 100)
    assert done.returncode == 0, done.stderr
    assert plans.read(output).step_budget_bytes == 20 * 2**30 - graph.resident_bytes
    assert "resident" in done.stdout


def test_infeasible_names_the_minimum_and_its_op(run: Fastsa, tmp_path: Path) -> None:
    output = tmp_path / "plan.json"
    done = run("--graph", GPT2, "--budget", "5%", "--output", output)
    assert done.returncode == 3
    plan = plans.read(output)
    assert plan.status == "infeasible"
    assert graphs.read(GPT2).ops[plan.minimum_budget_op].target in done.stdout


def test_not_found_is_written_all_the_same(run: Fastsa, tmp_path: Path) -> None:
    path, output = tmp_path / "graph.json", tmp_path / "plan.json"
    build(
        [(0, [], [0]), (1, [], [1]), (1, [1], [2]), (1, [0, 2], [3])],
        [8, 64, 8, 8],
        regions=(0, 1),
        outputs=(3,),
    ).write(path)
    done = run("--graph", path, "--budget", 72, "--output", output, "--iterations", 100)
    assert done.returncode == 3
    assert plans.read(output).status == "not_found"


@pytest.mark.promise("fault-14")
@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "graph.json"),
        (b"{", "graph.json"),
        (b"[1]", "array"),
        (b'{"schema": "fastsa.graph/1", "name": 5}', "$.name"),
        (chain(3).encode().replace(b'"bytes":8', b'"bytes":-8'), "$.values[0].bytes"),
        (b"\xff\xfe", "graph.json"),
        (b"[" * 100_000, "graph.json"),
    ],
)
def test_a_bad_graph_file_is_one_line_and_exit_2(
    run: Fastsa, tmp_path: Path, content: bytes, place: str
) -> None:
    path = tmp_path / "graph.json"
    path.write_bytes(content)
    done = run("--graph", path, "--budget", "50%", "--output", tmp_path / "plan.json")
    assert done.returncode == 2
    assert place in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--budget", "50%"],
        ["--graph", GPT2, "--budget", "50%"],
        ["abc", "--graph", GPT2, "--budget", "50%", "--output", "x"],
        ["--graph", GPT2, "--output", "x"],
        ["--graph", GPT2, "--budget", "much", "--output", "x"],
        ["--graph", GPT2, "--budget", "auto", "--output", "x"],
        ["--graph", GPT2, "--budget", "50%", "--output", "x", "--threads", 0],
        ["--graph", GPT2, "--budget", "50%", "--output", "x", "--time-limit", "nan"],
        ["--graph", GPT2, "--budget", "50%", "--output", "x", "--algorithm", "magic"],
        ["--graph", "/nowhere.json", "--budget", "50%", "--output", "x"],
    ],
)
def test_bad_usage_is_exit_2(
    run: Fastsa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[object]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("x").exists()


def test_the_command_knows_every_algorithm(run: Fastsa) -> None:
    assert plan_command.ALGORITHMS == ALGORITHMS
