"""The daemon, as a process: it plans, is killed, is asked nonsense, and nobody depends on it."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import pytest

from fastsa.cache.records import now
from fastsa.cache.requests import Request
from fastsa.cache.store import Store
from fastsa.daemon import client, protocol
from fastsa.daemon.place import place_of
from fastsa.daemon.server import Server
from fastsa.planner import graph as graphs
from fastsa.planner.plan import Plan
from fastsa.planner.solve import plan
from fastsa.runtime.background import Background
from support import builders
from support.daemons import HANG_SECONDS, NO_STATUS, Daemon, Daemons, wait_for
from support.fork_server import ForkServer
from support.paths import GRAPHS
from support.random_plans import random_plan

GRAPH = builders.graph(3)  # of which a curve is soon made
KEY = builders.key(GRAPH)
PEAK = plan(GRAPH, graphs.INT64_MAX, time_limit=0, iterations=0).peak_bytes
BUDGET = PEAK * 3 // 4
CURVE_TIME = ("--search-time", "1")  # as it takes many searches
ENDLESS = ("--search-time", "600")


def ended(request: Request | None) -> bool:
    return request is not None and request.state in ("planned", "failed")


@pytest.fixture
def daemons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fork_server: ForkServer
) -> Iterator[Daemons]:
    made = Daemons(tmp_path, fork_server)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(made.runtime))
    yield made
    made.end()


@pytest.fixture
def store(daemons: Daemons) -> Iterator[Store]:
    with Store.open(daemons.store) as opened:
        opened.add_graph(GRAPH)
        yield opened


@pytest.fixture(scope="module")
def idle_daemons(
    tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer
) -> Iterator[Daemons]:
    made = Daemons(tmp_path_factory.mktemp("idle"), fork_server)
    Store.open(made.store).close()
    yield made
    made.end()


@pytest.fixture
def idle(idle_daemons: Daemons, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon with nothing to do, which answers after the test as before."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(idle_daemons.runtime))
    if not idle_daemons.daemons:
        idle_daemons.start()
    daemon = idle_daemons.daemons[0]
    yield daemon
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(idle_daemons.runtime))
    assert idle_daemons.status().process == daemon.pid


class TestWork:
    def test_it_plans_what_is_asked_for(self, daemons: Daemons, store: Store) -> None:
        request = store.requests.put("plan", KEY, BUDGET)
        daemons.start()
        wait_for(lambda: ended(store.requests.get(request.id)))
        now = store.requests.get(request.id)
        assert now is not None
        assert now.state == "planned", now.reason
        assert now.plan is not None
        assert store.plan(now.plan).peak_bytes <= BUDGET

    def test_a_job_tells_it(self, daemons: Daemons, store: Store) -> None:
        daemons.start()
        Background(store.path).made(KEY, BUDGET)
        wait_for(lambda: store.requests.counts() == {"improve.planned": 1})
        assert len(store.list_items("plan")) == 1

    def test_a_curve(self, daemons: Daemons, store: Store) -> None:
        store.requests.put("curve", KEY, 0)
        daemons.start(*CURVE_TIME)
        wait_for(lambda: store.requests.counts() == {"curve.planned": 1})
        assert store.has_curve(KEY, PEAK, GRAPH.base_seconds)

    def test_what_jobs_have_used(self, daemons: Daemons, store: Store) -> None:
        """No daemon was there when they ran. A better plan, then a curve, and then it is idle."""
        worse, budget = use_a_plan(store)
        process = daemons.start(*CURVE_TIME)
        done = {"improve.planned": 1, "curve.planned": 1}
        wait_for(lambda: store.requests.counts() == done)
        wait_for(lambda: process.workers == [])
        process.kill()
        best = store.find_plan(KEY, budget)
        assert best is not None
        assert best.plan.seconds < worse.seconds
        assert store.has_curve(KEY, PEAK, GRAPH.base_seconds)
        store.add_run(builders.run(best.id))  # of long ago
        assert looks(store) == [False] * 3
        assert store.requests.counts() == done
        counters = store.counters()
        assert counters["daemon.improve.made"] == 1
        assert counters["plan.hit"] == 1, "that of this test: the daemon is no job"

    @pytest.mark.parametrize(
        ("only_asked", "found"), [(True, [False] * 3), (False, [True])], ids=["asked", "used"]
    )
    def test_only_what_is_asked_for(
        self, daemons: Daemons, store: Store, only_asked: bool, found: list[bool]
    ) -> None:
        use_a_plan(store)
        assert looks(store, only_asked=only_asked) == found
        assert store.requests.counts() == ({} if only_asked else {"improve.waiting": 1})

    def test_what_cannot_be_made_has_its_reason(self, daemons: Daemons, store: Store) -> None:
        unknown = store.requests.put("plan", builders.key(builders.graph(9)), PEAK)
        narrow = store.requests.put("plan", KEY, 1)
        daemons.start()
        wait_for(lambda: store.requests.counts() == {"plan.failed": 2})
        reasons = [store.requests.get(each.id) for each in (unknown, narrow)]
        assert [each and each.reason for each in reasons] == [
            "its graph is not in the store",
            "no plan within the budget: infeasible",
        ]

    def test_it_imports_no_torch(self, daemons: Daemons) -> None:
        """A daemon that `start` has started: no child of a process that has torch."""
        assert daemons.fastsa("daemon", "start").returncode == 0
        try:
            maps = Path(f"/proc/{daemons.status().process}/maps").read_text()
            assert "python" in maps
            assert "libtorch" not in maps
        finally:
            daemons.fastsa("daemon", "stop")


def use_a_plan(store: Store) -> tuple[Plan, int]:
    """A bad plan that a job has just used, and its budget."""
    worse = random_plan(GRAPH, random.Random(0), forget=0.9)
    budget = max(worse.peak_bytes, BUDGET)
    plan_id = store.add_plan(msgspec.structs.replace(worse, step_budget_bytes=budget), KEY)
    store.add_run(msgspec.structs.replace(builders.run(plan_id), created=now()))
    return worse, budget


class Looks(Server):
    """A daemon that ends when it has found work, or none three times."""

    found: list[bool]

    async def _idle(self, seconds: float) -> None:
        """Look again at once."""

    async def _has_work(self) -> bool:
        is_there = await super()._has_work()
        self.found.append(is_there)
        if is_there or len(self.found) == 3:
            self._stop.set()
        return is_there

    async def _worked(self) -> bool:
        return True


def looks(store: Store, *, only_asked: bool = False) -> list[bool]:
    """What a daemon finds, in this process: whether there is work, each time that it looks."""
    server = Looks(store, only_asked=only_asked)
    server.found = []
    asyncio.run(server.run())
    return server.found


@cache
def hard() -> tuple[graphs.Graph, int]:
    """A real graph that a worker is busy with for as long as it may, and half its peak."""
    found = graphs.read(GRAPHS / "gpt2_eager.graph.json.gz")
    return found, plan(found, graphs.INT64_MAX, time_limit=0, iterations=0).peak_bytes // 2


def busy(daemons: Daemons, store: Store) -> tuple[Daemon, Request]:
    """A daemon at work, and what it works at."""
    graph, budget = hard()
    store.add_graph(graph)
    request = store.requests.put("improve", builders.key(graph), budget)
    daemon = daemons.start(*ENDLESS)
    wait_for(lambda: state(store, request) == "running")
    return daemon, request


def state(store: Store, request: Request) -> str:
    found = store.requests.get(request.id)
    return "" if found is None else found.state


def attempts(store: Store, request: Request) -> int:
    found = store.requests.get(request.id)
    return 0 if found is None else found.attempts


class TestDeath:
    @pytest.mark.promise("fault-2")
    def test_a_worker_that_dies_twice(self, daemons: Daemons, store: Store) -> None:
        daemon, request = busy(daemons, store)
        for attempt in (1, 2):
            wait_for(lambda attempt=attempt: attempts(store, request) == attempt)  # type: ignore[misc]
            (worker,) = daemon.workers
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda worker=worker: worker not in daemon.workers)  # type: ignore[misc]
        wait_for(lambda: ended(store.requests.get(request.id)))
        found = store.requests.get(request.id)
        assert found is not None
        assert (found.state, found.reason) == ("failed", "whoever planned it died, twice")
        assert daemons.status().process == daemon.pid

    def test_its_worker_goes_with_it(self, daemons: Daemons, store: Store) -> None:
        daemon, request = busy(daemons, store)
        (worker,) = daemon.workers
        daemon.kill()
        wait_for(lambda: not Path(f"/proc/{worker}/exe").exists())
        assert state(store, request) == "waiting"

    @pytest.mark.promise("fault-2")
    @pytest.mark.parametrize("kills", [2, pytest.param(6, marks=pytest.mark.nightly)])
    def test_every_request_ends(self, daemons: Daemons, store: Store, kills: int) -> None:
        """Killed again and again with what it does; what is left is taken up by the next one."""
        wanted = [store.requests.put("plan", KEY, PEAK - 50 * n) for n in range(2 * kills)]
        for _ in range(kills):
            daemon = daemons.start()
            wait_for(
                lambda: (
                    any(state(store, each) == "running" for each in wanted)
                    or all(ended(store.requests.get(each.id)) for each in wanted)
                )
            )
            for worker in daemon.workers:
                os.kill(worker, signal.SIGKILL)
            daemon.kill()
        daemons.start()
        wait_for(lambda: all(ended(store.requests.get(each.id)) for each in wanted))
        for each in wanted:
            found = store.requests.get(each.id)
            assert found is not None
            assert found.plan if found.state == "planned" else found.reason

    def test_it_stops_at_once_and_keeps_the_request(self, daemons: Daemons, store: Store) -> None:
        daemon, request = busy(daemons, store)
        assert daemons.fastsa("daemon", "stop").stdout == "Stopped.\n"
        assert daemon.wait() == 0
        assert (state(store, request), attempts(store, request)) == ("waiting", 0)
        assert not place_of(store.path).socket.exists()


class TestJobs:
    def test_one_that_plans_has_the_cores(self, daemons: Daemons, store: Store) -> None:
        daemon, request = busy(daemons, store)
        Background(store.path).plans(3600)
        wait_for(lambda: not daemon.workers)
        assert state(store, request) == "waiting"

    @pytest.mark.promise("fault-35")
    def test_a_daemon_that_hangs(
        self, daemons: Daemons, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        daemon = daemons.start()
        daemon.send_signal(signal.SIGSTOP)
        monkeypatch.setattr("fastsa.runtime.background.SECONDS", 0.1)
        told = Background(store.path)
        told.plans(5)
        told.made(KEY, PEAK)
        done = daemons.job("run", "--budget", "80%", "--time-limit", "0.5", "plain.py")
        assert done.returncode == 0
        assert "fastsa: plan made" in done.stderr

    def test_no_daemon(self, daemons: Daemons, store: Store) -> None:
        Background(store.path).made(KEY, PEAK)
        assert store.requests.counts() == {}
        assert not daemons.runtime.exists()

    def test_its_plan_is_improved(self, daemons: Daemons, store: Store) -> None:
        daemons.start("--only-asked")
        done = daemons.job("run", "--budget", "65%", "--time-limit", "0.1", "plain.py")
        assert done.returncode == 0
        # Of the region that was planned, and of the step that was recorded then.
        wait_for(lambda: len(improved(store)) == 2)


def improved(store: Store) -> set[str]:
    """Graphs."""
    done = [each for each in store.requests.latest() if each.state == "planned"]
    return {each.key.graph for each in done if each.kind == "improve"}


@pytest.mark.promise("fault-28")
class TestSocket:
    def send(self, store: Path, data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(HANG_SECONDS)
            connection.connect(str(place_of(store).socket))
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(4096):
                answer += part
            return answer

    @pytest.mark.promise("fault-35")
    @pytest.mark.parametrize(
        "body",
        [
            b'{"version": 99, "body": {"type": "status"}}',
            b'{"version": 1, "body": {"type": "remove"}}',
            b'{"version": 1, "body": {"type": "improve"}}',
            b'{"version": 1, "body": ' + b"[" * 60_000,
            b"\xff\xfe",
            b"",
        ],
    )
    def test_nonsense_is_refused(self, idle_daemons: Daemons, idle: Daemon, body: bytes) -> None:
        answer = self.send(idle_daemons.store, protocol.HEADER.pack(len(body)) + body)
        assert isinstance(protocol.answer(answer[protocol.HEADER.size :]), protocol.Refused)

    @pytest.mark.parametrize("data", [b"", b"\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x09{"])
    def test_halves_are_dropped(self, idle_daemons: Daemons, idle: Daemon, data: bytes) -> None:
        self.send(idle_daemons.store, data)

    def test_files_are_the_users_alone(self, idle_daemons: Daemons, idle: Daemon) -> None:
        place = place_of(idle_daemons.store)
        assert place.socket.parent.stat().st_mode & 0o777 == 0o700
        assert place.socket.stat().st_mode & 0o777 == 0o600

    def test_one_daemon_for_each_store(self, idle_daemons: Daemons, idle: Daemon) -> None:
        second = idle_daemons.begin()
        assert second.wait() == 1
        assert "a daemon runs for this store already" in second.said

    def test_from_another_login(
        self,
        idle_daemons: Daemons,
        idle: Daemon,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        fork_server: ForkServer,
    ) -> None:
        """With a runtime folder of its own: it finds the daemon, and cannot be a second one."""
        other = Daemons(tmp_path, fork_server)
        other.store = idle_daemons.store
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(other.runtime))
        assert other.status().process == idle.pid
        second = other.begin()
        assert second.wait() == 1
        assert "a daemon runs for this store already" in second.said

    @pytest.mark.parametrize(
        "said", [b"", b"relative", b"\0", b"/" + b"x" * 500, b"/nowhere/at.sock", b"\xff\xfe"]
    )
    def test_a_lock_that_says_nothing(self, daemons: Daemons, store: Store, said: bytes) -> None:
        place_of(store.path).lock.write_bytes(said)
        assert daemons.status() == NO_STATUS
        daemons.start()

    def test_a_lock_that_is_a_link(self, daemons: Daemons, store: Store, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_text("precious")
        place_of(store.path).lock.symlink_to(victim)
        assert daemons.begin().wait() == 1
        assert victim.read_text() == "precious"

    def test_a_socket_left_behind(self, daemons: Daemons, store: Store) -> None:
        daemons.start().kill()
        assert place_of(store.path).socket.exists()
        second = daemons.start()
        assert daemons.status().process == second.pid

    def test_a_folder_that_others_may_enter(self, daemons: Daemons, store: Store) -> None:
        folder = daemons.runtime / "fastsa"
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        assert client.ask(store.path, protocol.AskStatus()) is None
        daemon = daemons.begin()
        assert daemon.wait() == 1
        assert "others may enter it" in daemon.said

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
    def test_another_user_is_not_answered(self, daemons: Daemons, store: Store) -> None:
        daemons.start()
        place = place_of(store.path)
        with socket.socket(socket.AF_UNIX) as connection:
            descriptor = os.open(place.socket.parent, os.O_RDONLY)
            child = os.fork()
            if not child:
                code = 1
                try:
                    os.fchdir(descriptor)  # as if the folder were open to it
                    place.socket.chmod(0o666)
                    os.setuid(65534)
                    connection.connect(place.socket.name)
                    connection.sendall(protocol.encode(protocol.Stop()))
                    code = 0 if connection.recv(1) == b"" else 2
                except OSError:
                    code = 0
                finally:
                    os._exit(code)
            os.close(descriptor)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert daemons.status().process


class TestCommands:
    def test_start_status_stop(self, daemons: Daemons) -> None:
        assert daemons.fastsa("daemon", "status").returncode == 1
        started = daemons.fastsa("daemon", "start")
        assert started.returncode == 0, started.stderr
        try:
            assert "runs already" in daemons.fastsa("daemon", "start").stdout
            told = daemons.fastsa("daemon", "status")
            assert told.returncode == 0
            assert str(daemons.store) in told.stdout
            assert "listens for" in daemons.fastsa("daemon", "logs").stdout
        finally:
            assert daemons.fastsa("daemon", "stop").stdout == "Stopped.\n"
        assert daemons.fastsa("daemon", "stop").stdout == "No daemon runs.\n"

    def test_metrics(self, daemons: Daemons, store: Store, tmp_path: Path) -> None:
        file = tmp_path / "fastsa.prom"
        store.requests.put("plan", builders.key(builders.graph(9)), PEAK)
        daemons.start("--metrics-file", str(file))
        wait_for(file.exists)
        wait_for(lambda: store.requests.counts() == {"plan.failed": 1})
        text = daemons.fastsa("daemon", "status", "--metrics").stdout
        sample = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+')
        lines = [line for line in text.splitlines() if not line.startswith("# ")]
        assert lines
        assert all(sample.fullmatch(line) for line in lines)
        assert 'fastsa_requests{kind="plan",state="failed"} 1' in lines

    @pytest.mark.nightly  # it is written again after five seconds
    def test_metrics_file(self, daemons: Daemons, store: Store, tmp_path: Path) -> None:
        """It is written while plans are made, too."""
        file = tmp_path / "fastsa.prom"
        graph, budget = hard()
        store.add_graph(graph)
        store.requests.put("plan", builders.key(graph), budget)
        daemons.start("--metrics-file", str(file), *ENDLESS)
        wait_for(lambda: file.exists() and "fastsa_daemon_working 1" in file.read_text())

    def test_unit(self, daemons: Daemons) -> None:
        told = daemons.fastsa("daemon", "unit").stdout
        assert f"daemon run --store {daemons.store}\n" in told
        assert "[Install]" in told

    def test_no_log(self, daemons: Daemons) -> None:
        done = daemons.fastsa("daemon", "logs")
        assert done.returncode == 2

    def test_cold(self, daemons: Daemons) -> None:
        """`fastsa daemon run` as a program of its own, until Ctrl-C."""
        command = [sys.executable, "-m", "fastsa", "daemon", "run", "--store", str(daemons.store)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: daemons.status().process == process.pid)
            process.send_signal(signal.SIGINT)
            assert process.wait(HANG_SECONDS) == 0
        finally:
            process.kill()
