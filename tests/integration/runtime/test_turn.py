"""Jobs that miss the same plan at once: one plans, the others wait and find it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastsa.cache import owner
from fastsa.cache.store import Store
from fastsa.runtime.turn import Turn
from support import builders
from support.paths import INSTALLED, SCRIPTS, TESTS
from support.sandbox import environment

KEY = builders.key(builders.graph())
PLAIN = SCRIPTS / "plain.py"

HOLD = """
import sys, time
from pathlib import Path
from support import builders
from fastsa.cache.store import Store
from fastsa.runtime.turn import Turn
store = Store.open(Path(sys.argv[1]))
with Turn(store, builders.key(builders.graph()), 1000, 30):
    print("begun", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(path: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that is making the plan for so long."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(path, PYTHONPATH=str(TESTS)),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_it_waits_for_whoever_is_at_it(path: Path) -> None:
    process = holder(path, 1.0)
    with Store.open(path) as store, Turn(store, KEY, 1000, 30) as turn:
        assert process.wait(10) == 0
        assert turn.has_waited


def test_another_budget_is_another_plan(path: Path) -> None:
    process = holder(path, 100)
    with Store.open(path) as store, Turn(store, KEY, 2000, 30) as turn:
        assert not turn.has_waited
    process.kill()
    process.wait()


def test_the_dead_are_not_waited_for(path: Path) -> None:
    process = holder(path, 100)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Store.open(path) as store, Turn(store, KEY, 1000, 30) as turn:
        assert not turn.has_waited
        (request,) = store.requests.latest()
        assert request.owner == owner.current()


def test_no_longer_than_the_other_may_plan(path: Path) -> None:
    process = holder(path, 100)
    with Store.open(path) as store:
        started = time.monotonic()
        with Turn(store, KEY, 1000, 0.5) as turn:
            assert turn.has_waited
        assert time.monotonic() - started < 30
        (request,) = store.requests.latest()
        assert request.state == "running", "it is still the other's"
    process.kill()
    process.wait()


def test_how_it_ended_is_kept(path: Path) -> None:
    with Store.open(path) as store:
        with Turn(store, KEY, 1000, 1) as turn:
            turn.plan_id = "cd" * 32
        with pytest.raises(ZeroDivisionError), Turn(store, KEY, 2000, 1):
            raise ZeroDivisionError("no")
        ended = {each.budget_bytes: each for each in store.requests.latest()}
    assert (ended[1000].state, ended[1000].plan) == ("planned", "cd" * 32)
    assert (ended[2000].state, ended[2000].reason) == ("failed", "ZeroDivisionError: no")


PLAN = """
import sys, time
from pathlib import Path
from support import builders
from fastsa.cache.store import Store
from fastsa.runtime.turn import Turn
key, plan = builders.key(builders.graph()), builders.plan(builders.graph())
with Store.open(Path(sys.argv[1])) as store:
    while not Path(sys.argv[2]).exists():
        time.sleep(0.001)
    with Turn(store, key, 1 << 40, 30) as turn:
        found = store.find_plan(key, 1 << 40)
        if found is None:
            time.sleep(0.5)
            turn.plan_id = store.add_plan(plan, key)
print("made" if found is None else "found")
"""


def test_eight_at_once(path: Path, tmp_path: Path) -> None:
    now = tmp_path / "now"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PLAN, str(path), str(now)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(path, PYTHONPATH=str(TESTS)),
        )
        for _ in range(8)
    ]
    time.sleep(3)
    now.touch()
    told = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert sorted(told) == ["found"] * 7 + ["made"]


def test_jobs_of_one_script(path: Path) -> None:
    command = [str(INSTALLED), "run", "--budget", "65%", "--time-limit", "8", str(PLAIN)]
    done = subprocess.run(
        [str(INSTALLED), "profile", str(PLAIN)],
        env=environment(path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    jobs = [
        subprocess.Popen(command, env=environment(path), stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    told = [job.communicate(timeout=300)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 4
    origins = [re.findall(r"^fastsa: plan (found|made) ", text, re.M)[0] for text in told]
    assert origins.count("made") == 1, told
    with Store.open(path) as store:
        assert len(store.list_items("plan")) == 1
        assert not store.uses.in_use()
