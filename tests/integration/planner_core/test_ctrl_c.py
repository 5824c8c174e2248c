"""Ctrl-C while native code is at work: Python hears it at once."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from support.fork_server import Done
from support.planner_graphs import REAL
from support.sandbox import CliSandbox

GRAPHS = {name: str(REAL / f"{name}.graph.json.gz") for name in ("gpt2_eager", "resnet50")}

SEARCH = """
import os, signal, sys
from pathlib import Path
from fastsa.planner import graph, solve
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's children ignore it
read = graph.read(Path(sys.argv[1]))
try:
    solve.plan(read, 10 * 2**30, time_limit=300, on_progress=lambda _: os.write(2, b"at work\\n"))
except KeyboardInterrupt:
    print("interrupted")
"""

# A solver that holds a thread is at work when the process spends seconds of the processor there.
RIVAL = """
import os, signal, sys, threading, time
from fastsa.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)
def watch():
    while not any("ThreadPoolExecutor" in each.name for each in threading.enumerate()):
        time.sleep(0.005)
    begun = time.process_time()
    while time.process_time() < begun + 0.5:
        time.sleep(0.005)
    os.write(2, b"at work\\n")
threading.Thread(target=watch, daemon=True).start()
sys.argv[0] = "fastsa"
main()
"""


def interrupted(sandbox: CliSandbox, program: str, *arguments: str) -> Done:
    """What a program did that was interrupted when it said on stderr that it is at work."""
    file = sandbox.folder / "program.py"
    file.write_text(program)
    read, write = os.pipe()
    with os.fdopen(read) as errors:
        started = sandbox.start(file, *arguments, stderr=write)
        os.close(write)
        assert errors.readline() == "at work\n"
        started.send_signal(signal.SIGINT)
        rest = errors.read()
    done = started.done()
    return Done(done.args, done.returncode, done.stdout, rest)


def test_a_search(sandbox: CliSandbox) -> None:
    done = interrupted(sandbox, SEARCH, GRAPHS["gpt2_eager"])
    assert (done.returncode, done.stdout) == (0, "interrupted\n")


@pytest.mark.parametrize("baseline", ["retention-intervals"])
def test_a_baseline(sandbox: CliSandbox, tmp_path: Path, baseline: str) -> None:
    plan = tmp_path / "plan.json"
    done = interrupted(
        sandbox,
        RIVAL,
        *("plan", "--algorithm", baseline, "--graph", GRAPHS["resnet50"], "--budget", "40%"),
        *("--time-limit", "300", "-o", str(plan)),
    )
    assert done.returncode == 130
    assert "interrupted" in done.stderr
    assert json.loads(plan.read_text())["planner"]["algorithm"] == baseline
