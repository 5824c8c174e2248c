"""`fastsa compare` as a person runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fastsa.planner.baselines import BASELINES
from fastsa.planner.options import ALGORITHMS
from support.commands import Fastsa
from support.fork_server import Done
from support.planner_graphs import REAL, random_training_graph

GRAPH_KEYS = {
    "schema",
    "graph",
    "graph_name",
    "ops",
    "base_peak_bytes",
    "base_seconds",
    "time_limit_seconds",
    "budgets",
}
BUDGET_KEYS = {
    "budget",
    "step_budget_bytes",
    "budget_percent",
    "lower_bound_seconds",
    "lower_bound_percent",
    "lower_bound_assumes",
    "minimum_budget_bytes",
    "algorithms",
}
LINE_KEYS = {
    "algorithm",
    "outcome",
    "reason",
    "extra_seconds",
    "extra_percent",
    "gap_seconds",
    "gap_percent",
    "peak_bytes",
    "peak_percent",
    "solve_seconds",
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.json"
    random_training_graph(1, 7).write(path)
    return path


@pytest.fixture
def run(fastsa: Fastsa) -> Fastsa:
    return lambda *arguments: fastsa("compare", *map(str, arguments))


def compared(run: Fastsa, *arguments: object) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_all_algorithms_at_the_usual_budgets(run: Fastsa, small: Path) -> None:
    document = compared(run, "--graph", small, "--time-limit", 0.3)
    assert document["schema"] == "fastsa.compare/2"
    assert set(document) == GRAPH_KEYS
    assert [each["budget"] for each in document["budgets"]] == ["75%", "50%"]
    for budget in document["budgets"]:
        assert set(budget) == BUDGET_KEYS
        assert [line["algorithm"] for line in budget["algorithms"]] == [*ALGORITHMS, *BASELINES]
        for line in budget["algorithms"]:
            assert set(line) == LINE_KEYS


def test_the_numbers_agree_with_each_other(run: Fastsa, small: Path) -> None:
    document = compared(run, "--graph", small, "--time-limit", 0.3, "--budget", "80%")
    (budget,) = document["budgets"]
    assert budget["step_budget_bytes"] == document["base_peak_bytes"] * 80 // 100
    within = [line for line in budget["algorithms"] if line["outcome"] == "within budget"]
    over = [line for line in budget["algorithms"] if line["outcome"] == "over budget"]
    assert within
    assert over  # torch's knapsack, on this graph
    for line in within:
        assert line["peak_bytes"] <= budget["step_budget_bytes"]
        assert line["extra_seconds"] >= budget["lower_bound_seconds"]
        gap = line["extra_seconds"] - budget["lower_bound_seconds"]
        assert line["gap_seconds"] == pytest.approx(gap)
        share = 100 * line["extra_seconds"] / document["base_seconds"]
        assert line["extra_percent"] == pytest.approx(share)
        assert line["solve_seconds"] < 30
    for line in over:
        assert line["peak_bytes"] > budget["step_budget_bytes"]
        assert line["gap_seconds"] is None


def test_a_table_for_people(run: Fastsa, small: Path) -> None:
    done = run("--graph", small, "--budget", "80%", "--budget", "10%", "--time-limit", 0.3)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for algorithm in (*ALGORITHMS, *BASELINES):
        assert sum(line.startswith(f"{algorithm} ") for line in lines) == 2
    assert "predicted" in done.stdout
    assert "measured" in done.stdout
    assert "no plan meets it" in done.stdout
    assert "infeasible" in done.stdout


def test_one_that_refuses_is_a_row(run: Fastsa, small: Path) -> None:
    path = REAL / "resnet50.graph.json.gz"
    chosen = ("--algorithm", "checkmate-milp", "--algorithm", "checkpoint-every-block")
    document = compared(run, "--graph", path, "--budget", "50%", *chosen)
    refused, other = document["budgets"][0]["algorithms"]
    assert refused["outcome"] == "refused"
    assert "variables" in refused["reason"]
    assert refused["peak_bytes"] is None
    assert other["outcome"] in ("within budget", "over budget")
    done = run("--graph", path, "--budget", "50%", *chosen)
    assert done.returncode == 0
    assert "checkmate-milp: 464 ops" in " ".join(done.stdout.split())


def test_a_size_is_less_what_is_resident(run: Fastsa, tmp_path: Path) -> None:
    path = REAL / "vgg11.graph.json.gz"
    document = compared(
        run, "--graph", path, "--budget", "25GiB", "--algorithm", "checkpoint-every-block"
    )
    from fastsa.planner import graph as graphs

    resident = graphs.read(path).resident_bytes
    assert document["budgets"][0]["step_budget_bytes"] == 25 * 2**30 - resident


def test_without_the_extras(run: Fastsa, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is left out, and if asked for a row that says how to install it."""
    loaded = [name for name in sys.modules if name.partition(".")[0] in ("ortools", "matplotlib")]
    for name in ("ortools", "matplotlib", *loaded):
        monkeypatch.setitem(sys.modules, name, None)

    def without(*arguments: str) -> Done:
        return run("--graph", small, *arguments)

    usual = without("--time-limit", "0.2", "--json")
    assert usual.returncode == 0, usual.stderr
    names = [line["algorithm"] for line in json.loads(usual.stdout)["budgets"][0]["algorithms"]]
    assert names == [*ALGORITHMS, "checkpoint-every-block"]
    asked = without("--algorithm", "checkmate-lp")
    assert asked.returncode == 0
    assert "pip install 'fastsa[baselines]'" in " ".join(asked.stdout.split())
    picture = without("--picture", "x.svg")
    assert picture.returncode == 2
    assert "fastsa[plots]" in picture.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--graph", "/nowhere.json"],
        ["--graph", REAL / "vgg11.graph.json.gz", "--budget", "auto"],
        ["--graph", REAL / "vgg11.graph.json.gz", "--budget", "much"],
        ["--graph", REAL / "vgg11.graph.json.gz", "--algorithm", "magic"],
        ["--graph", REAL / "vgg11.graph.json.gz", "--picture", "picture.gif"],
    ],
)
def test_bad_usage_is_exit_2(run: Fastsa, arguments: list[object]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr
