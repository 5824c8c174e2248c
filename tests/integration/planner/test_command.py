"""`fastsa plan` as a person runs it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastsa.cli import plan as plan_command
from fastsa.planner import graph as graphs
from fastsa.planner import plan as plans
from fastsa.planner.solve import ALGORITHMS
from fastsa.planner.validation import validate
from support.planner_graphs import REAL, build, chain

COMMAND = [sys.executable, "-m", "fastsa", "plan"]
GPT2 = REAL / "gpt2_eager.graph.json.gz"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_plan_is_written(tmp_path: Path) -> None:
    output = tmp_path / "plan.json.gz"
    done = run("--graph", GPT2, "--budget", "50%", "--output", output, "--time-limit", 0.5)
    assert done.returncode == 0, done.stderr
    assert "predicted" in done.stdout
    assert done.stderr == ""
    plan = plans.read(output)
    validate(graphs.read(GPT2), plan)
    assert plan.fits
    assert plan.budget_bytes == plan.base_peak_bytes // 2


def test_json_is_the_plan_without_its_sequence(tmp_path: Path) -> None:
    output = tmp_path / "plan.json"
    done = run(
        "--graph", GPT2, "--budget", "60%", "--output", output, "--iterations", 2000, "--json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_bytes())
    del document["sequence"]
    assert json.loads(done.stdout) == document


def test_a_size_is_less_what_is_resident(tmp_path: Path) -> None:
    graph = graphs.read(GPT2)
    output = tmp_path / "plan.json"
    done = run("--graph", GPT2, "--budget", "20GiB", "--output", output, "--time-limit", 0.3)
    assert done.returncode == 0, done.stderr
    assert plans.read(output).budget_bytes == 20 * 2**30 - graph.resident_bytes
    assert "resident" in done.stdout


def test_infeasible_names_the_minimum_and_its_op(tmp_path: Path) -> None:
    output = tmp_path / "plan.json"
    done = run("--graph", GPT2, "--budget", "5%", "--output", output)
    assert done.returncode == 3
    plan = plans.read(output)
    assert plan.status == "infeasible"
    assert graphs.read(GPT2).ops[plan.minimum_budget_op].target in done.stdout


def test_not_found_is_written_all_the_same(tmp_path: Path) -> None:
    path, output = tmp_path / "graph.json", tmp_path / "plan.json"
    build(
        [(0, [], [0]), (1, [], [1]), (1, [1], [2]), (1, [0, 2], [3])],
        [8, 64, 8, 8],
        regions=(0, 1),
        outputs=(3,),
    ).write(path)
    done = run("--graph", path, "--budget", 72, "--output", output, "--time-limit", 0.1)
    assert done.returncode == 3
    assert plans.read(output).status == "not_found"


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
    tmp_path: Path, content: bytes, place: str
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[object]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTSA_STORE", str(tmp_path / "store.db"))
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("x").exists()


def test_ctrl_c_keeps_the_best_so_far(tmp_path: Path) -> None:
    output = tmp_path / "plan.json"
    arguments = ["--graph", GPT2, "--budget", "50%", "--output", output, "--time-limit", 60]
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "feasible" in stdout
    assert "best plan so far" in stderr
    plan = plans.read(output)
    validate(graphs.read(GPT2), plan)
    assert plan.fits


def test_a_terminal_sees_progress(tmp_path: Path) -> None:
    main, other = pty.openpty()
    arguments = [
        "--graph",
        GPT2,
        "--budget",
        "50%",
        "--output",
        tmp_path / "p",
        "--time-limit",
        0.5,
    ]
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=other, env=terminal()
    )
    os.close(other)
    shown = b""
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(main)
    assert process.wait(timeout=10) == 0
    assert b"planning" in shown
    assert b"peak" in shown


def terminal() -> dict[str, str]:
    return {**os.environ, "TERM": "xterm", "COLUMNS": "120"}


def test_help_is_quick_and_loads_no_torch() -> None:
    program = (
        "import sys; from click.testing import CliRunner; from fastsa.cli.plan import command;"
        "result = CliRunner().invoke(command, ['--help']); assert result.exit_code == 0;"
        "assert not {'torch', 'rich', 'fastsa.planner._core'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_the_command_knows_every_algorithm() -> None:
    assert plan_command.ALGORITHMS == ALGORITHMS
