"""Jobs that miss the same plan at once: one plans, the others wait and find it."""

from __future__ import annotations

import multiprocessing
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier, Semaphore
from pathlib import Path
from typing import Any

import pytest

from fastsa.cache import owner
from fastsa.cache.store import Store
from fastsa.runtime.plan_lease import PlanLease
from support import builders
from support.paths import INSTALLED
from support.sandbox import CliSandbox, with_scripts

KEY = builders.key(builders.graph())
PATIENCE = 120.0  # seconds: nothing here takes as long
FORK = multiprocessing.get_context("fork")


class Watched(PlanLease):
    """Says when it begins to wait."""

    def __init__(self, *arguments: Any, waits: Callable[[], object]) -> None:
        self.waits = waits
        super().__init__(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "has_waited" and value and not self.has_waited:
            self.waits()
        super().__setattr__(name, value)


def hold(path: Path, pipe: Connection) -> None:
    """Be at the plan until the other end of the pipe is used or closed."""
    with Store.open(path) as store, PlanLease(store, KEY, 1000, PATIENCE):
        pipe.send("begun")
        pipe.poll(None)


class Holder:
    """A process that makes the plan."""

    def __init__(self, path: Path) -> None:
        self.pipe, its = FORK.Pipe()
        self.process = FORK.Process(target=hold, args=(path, its))
        self.process.start()
        its.close()
        assert self.pipe.recv() == "begun"

    def release(self) -> None:
        self.pipe.send("enough")

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@contextmanager
def holder(path: Path) -> Iterator[Holder]:
    held = Holder(path)
    yield held
    held.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_it_waits_for_whoever_is_at_it(path: Path) -> None:
    with (
        holder(path) as other,
        Store.open(path) as store,
        Watched(store, KEY, 1000, PATIENCE, waits=other.release) as turn,
    ):
        assert turn.has_waited
        other.process.join(PATIENCE)
        assert other.process.exitcode == 0


def test_another_budget_is_another_plan(path: Path) -> None:
    with holder(path), Store.open(path) as store, PlanLease(store, KEY, 2000, PATIENCE) as turn:
        assert not turn.has_waited


@pytest.mark.promise("fault-12")
def test_the_dead_are_not_waited_for(path: Path) -> None:
    with holder(path) as other:
        other.kill()
        with Store.open(path) as store, PlanLease(store, KEY, 1000, PATIENCE) as turn:
            assert not turn.has_waited
            (request,) = store.requests.latest()
            assert request.owner == owner.current()


def test_no_longer_than_the_other_may_plan(path: Path) -> None:
    """It goes on although the other is still at it."""
    with holder(path) as other, Store.open(path) as store:
        with PlanLease(store, KEY, 1000, 0.0) as turn:
            assert turn.has_waited
            assert other.process.is_alive()
        (request,) = store.requests.latest()
        assert request.state == "running", "it is still the other's"


def test_how_it_ended_is_kept(path: Path) -> None:
    with Store.open(path) as store:
        with PlanLease(store, KEY, 1000, 1) as turn:
            turn.plan_id = "cd" * 32
        with pytest.raises(ZeroDivisionError), PlanLease(store, KEY, 2000, 1):
            raise ZeroDivisionError("no")
        ended = {each.step_budget_bytes: each for each in store.requests.latest()}
    assert (ended[1000].state, ended[1000].plan) == ("planned", "cd" * 32)
    assert (ended[2000].state, ended[2000].reason) == ("failed", "ZeroDivisionError: no")


JOBS = 8


def find_or_make(path: Path, start: Barrier, waiting: Semaphore, pipe: Connection) -> None:
    """What a job does; whoever makes the plan is at it until all others wait."""
    plan = builders.plan(builders.graph())
    with Store.open(path) as store:
        start.wait(PATIENCE)
        with Watched(store, KEY, 1 << 40, PATIENCE, waits=waiting.release) as turn:
            found = store.find_plan(KEY, 1 << 40)
            if found is None:
                for _ in range(JOBS - 1):
                    waiting.acquire(timeout=PATIENCE)
                turn.plan_id = store.add_plan(plan, KEY)
    pipe.send("made" if found is None else "found")


def test_eight_at_once(path: Path) -> None:
    Store.open(path).close()
    start, waiting = FORK.Barrier(JOBS), FORK.Semaphore(0)
    pipes, processes = [], []
    for _ in range(JOBS):
        ours, its = FORK.Pipe()
        processes.append(FORK.Process(target=find_or_make, args=(path, start, waiting, its)))
        processes[-1].start()
        its.close()
        pipes.append(ours)
    told = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    assert sorted(told) == ["found"] * (JOBS - 1) + ["made"]


@pytest.mark.promise("fault-11")
def test_jobs_of_one_script(sandbox: CliSandbox) -> None:
    done = sandbox.fastsa("profile", "plain.py")
    assert done.returncode == 0, done.stderr
    command = with_scripts(["run", "--budget", "65%", "--time-limit", "4", "plain.py"])
    first = sandbox.start(INSTALLED, *command)
    with Store.open(sandbox.place) as store:
        while not store.requests.latest():
            time.sleep(0.01)
    jobs = [first, *(sandbox.start(INSTALLED, *command) for _ in range(2))]
    ended = [job.done() for job in jobs]
    assert [each.returncode for each in ended] == [0] * len(jobs)
    origins = [re.findall(r"^fastsa: plan (found|made) ", e.stderr, re.M)[0] for e in ended]
    assert origins == ["made", "found", "found"]
    with Store.open(sandbox.place) as store:
        assert len(store.list_items("plan")) == 1
        assert not store.uses.in_use()
