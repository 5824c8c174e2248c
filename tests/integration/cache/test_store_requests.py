"""The queue of requests: one process at each, taken over when it dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastsa.cache import owner
from fastsa.cache.requests import ATTEMPTS, MOST_REQUESTS, Requests
from fastsa.cache.store import Store
from support import builders

KEY = builders.key(builders.graph())


@pytest.fixture
def requests(path: Path) -> Requests:
    return Store.open(path).requests


class Holder:
    """A process that holds the next request and does nothing about it."""

    def __init__(self, path: Path) -> None:
        reader, writer = os.pipe()
        self._child = os.fork()
        if not self._child:
            try:
                assert Store.open(path).requests.claim(1000)
                os.write(writer, b"claimed")
                signal.pause()
            finally:
                os._exit(1)
        os.close(writer)
        assert os.read(reader, 100) == b"claimed"
        os.close(reader)

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self._child:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._child = 0


@pytest.fixture
def hold(path: Path) -> Iterator[Callable[[], Holder]]:
    """Let another process take the next request."""
    holders = []

    def hold() -> Holder:
        holders.append(Holder(path))
        return holders[-1]

    yield hold
    for holder in holders:
        holder.kill()


class TestOwner:
    def test_this_process_lives(self) -> None:
        assert owner.is_here(owner.current())
        assert not owner.is_dead(owner.current())

    def test_a_process_that_has_ended_is_dead(self) -> None:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.write(writer, owner.current().encode())
            signal.pause()
        name = os.read(reader, 1000).decode()
        assert not owner.is_dead(name)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert owner.is_dead(name)

    def test_a_number_used_again_is_another_process(self) -> None:
        place, _, start = owner.current().rpartition("/")
        assert owner.is_dead(f"{place}/{int(start) + 1}")

    def test_of_another_host_nothing_is_known(self) -> None:
        assert not owner.is_dead("elsewhere/boot/4026531836/1/1")
        assert not owner.is_here("elsewhere/boot/4026531836/1/1")

    def test_of_another_container_nothing_is_known(self) -> None:
        """Its numbers are others, even where the host's name is the same."""
        host, boot, _, number, start = owner.current().rsplit("/", 4)
        name = f"{host}/{boot}/1/{number}/{start}x"
        assert not owner.is_dead(name)
        assert not owner.is_here(name)
        assert owner.is_dead(f"{host}/earlier/1/{number}/{start}")  # before the host was started

    @pytest.mark.parametrize("name", ["", "/", "a/b", "a/b/c/d/e/f"])
    def test_nonsense_raises_nothing(self, name: str) -> None:
        owner.is_dead(name)
        owner.is_here(name)


@pytest.mark.promise("fault-26")
class TestQueue:
    def test_old_ones_are_forgotten(self, requests: Requests) -> None:
        waiting = requests.put("plan", KEY, 0)
        for budget in range(1, MOST_REQUESTS + 10):
            request = requests.begin("plan", KEY, budget, 10)
            requests.finish(request.id, None)
        counts = requests.counts()
        assert counts["plan.waiting"] == 1
        assert MOST_REQUESTS - 10 < counts["plan.planned"] <= MOST_REQUESTS + 1
        assert requests.get(waiting.id) == waiting

    def test_asking_twice_is_asking_once(self, requests: Requests) -> None:
        first = requests.put("plan", KEY, 1000)
        assert requests.put("plan", KEY, 1000) == first
        assert requests.put("plan", KEY, 1001).id != first.id
        assert requests.counts() == {"plan.waiting": 2}

    def test_a_job_comes_before_improvements(self, requests: Requests) -> None:
        improve = requests.put("improve", KEY, 1000)
        plan = requests.put("plan", KEY, 1000)
        kinds = ("plan", "improve")
        found = [requests.claim(60, kinds), requests.claim(60, kinds), requests.claim(60, kinds)]
        assert [each and each.id for each in found] == [plan.id, improve.id, None]

    def test_what_is_held_is_not_given_away(
        self, requests: Requests, hold: Callable[[], Holder]
    ) -> None:
        requests.put("plan", KEY, 1000)
        hold()
        assert requests.claim(60) is None
        begun = requests.begin("plan", KEY, 1000, 60)
        assert begun.owner != owner.current()

    @pytest.mark.promise("fault-12")
    def test_of_the_dead_it_is_taken_over_once(
        self, requests: Requests, hold: Callable[[], Holder]
    ) -> None:
        name = requests.put("plan", KEY, 1000).id
        for attempt in range(1, ATTEMPTS + 1):
            holder = hold()
            held = requests.get(name)
            assert held is not None
            assert (held.state, held.attempts) == ("running", attempt)
            holder.kill()
        assert requests.claim(60) is None
        ended = requests.get(name)
        assert ended is not None
        assert ended.state == "failed"
        assert ended.reason

    def test_a_lease_that_is_over(
        self, requests: Requests, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = requests.put("plan", KEY, 1000).id
        claimed = requests.claim(60)
        assert claimed is not None
        now = time.time
        monkeypatch.setattr("fastsa.cache.requests.time.time", lambda: now() + 61)
        again = requests.claim(60)
        assert again is not None
        assert (again.id, again.attempts) == (name, 2)

    def test_the_clock_jumps_ahead(
        self,
        requests: Requests,
        hold: Callable[[], Holder],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Two make the same plan; whoever was first cannot spoil what the second says of it."""
        requests.put("plan", KEY, 1000)
        hold()
        now = time.time
        monkeypatch.setattr("fastsa.cache.requests.time.time", lambda: now() + 365 * 86400)
        begun = requests.begin("plan", KEY, 1000, 60)
        assert begun.owner == owner.current()
        requests.finish(begun.id, "ab" * 32)
        ended = requests.get(begun.id)
        assert ended is not None
        assert (ended.state, ended.plan) == ("planned", "ab" * 32)

    def test_the_clock_jumps_back(
        self,
        requests: Requests,
        hold: Callable[[], Holder],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A lease seems to last for a year: it ends with its holder all the same."""
        name = requests.put("plan", KEY, 1000).id
        holder = hold()
        now = time.time
        monkeypatch.setattr("fastsa.cache.requests.time.time", lambda: now() - 365 * 86400)
        assert requests.claim(60) is None
        holder.kill()
        taken = requests.claim(60)
        assert taken is not None
        assert (taken.id, taken.owner) == (name, owner.current())
        requests.finish(name, None)

    def test_ends(self, requests: Requests) -> None:
        name = requests.put("plan", KEY, 1000).id
        assert requests.claim(60)
        assert requests.renew(name, 60)
        requests.release(name)
        assert not requests.renew(name, 60)
        waiting = requests.get(name)
        assert waiting is not None
        assert (waiting.state, waiting.attempts) == ("waiting", 0)
        requests.claim(60)
        requests.finish(name, "ab" * 32)
        done = requests.get(name)
        assert done is not None
        assert (done.state, done.plan, done.owner, done.lease) == ("planned", "ab" * 32, None, None)

    def test_a_failed_one_may_be_asked_for_again(self, requests: Requests) -> None:
        name = requests.put("plan", KEY, 1000).id
        requests.fail(name, "no memory")
        assert requests.put("plan", KEY, 1000).state == "waiting"


def take_all(path: Path, found: multiprocessing.Queue[list[str]]) -> None:
    names = []
    with Store.open(path) as store:
        while request := store.requests.claim(1000):
            names.append(request.id)
            store.requests.finish(request.id, None)
    found.put(names)


def test_each_request_is_taken_by_one(path: Path, requests: Requests) -> None:
    wanted = {requests.put("plan", KEY, size).id for size in range(40)}
    context = multiprocessing.get_context("fork")
    found: multiprocessing.Queue[list[str]] = context.Queue()
    workers = [context.Process(target=take_all, args=(path, found)) for _ in range(4)]
    for worker in workers:
        worker.start()
    names = [name for _ in workers for name in found.get(timeout=120)]
    for worker in workers:
        worker.join()
    assert len(names) == len(wanted)
    assert set(names) == wanted
