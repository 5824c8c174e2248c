"""The daemon, as a process: it plans, is killed, is asked nonsense, and nobody depends on it."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from fastsa.cache.records import now
from fastsa.cache.requests import Request
from fastsa.cache.store import Store
from fastsa.daemon import client, protocol
from fastsa.daemon.place import place_of
from fastsa.daemon.server import LOOK_SECONDS
from fastsa.planner import graph as graphs
from fastsa.planner.solve import plan
from fastsa.runtime.background import Background
from support import builders
from support.paths import GRAPHS, INSTALLED, SCRIPTS
from support.random_plans import random_plan
from support.sandbox import environment

PLAIN = SCRIPTS / "plain.py"
GRAPH = builders.graph(40)
KEY = builders.key(GRAPH)
PEAK = plan(GRAPH, graphs.INT64_MAX, time_limit=0, iterations=0).peak_bytes


class Daemons:
    """Daemons of one store, in a runtime folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store.db"
        self.runtime = folder / "run"
        self.processes: list[subprocess.Popen[str]] = []

    def begin(self, *options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [INSTALLED, "daemon", "run", "--search-time", "1", *options],
            env=environment(self.store, XDG_RUNTIME_DIR=str(self.runtime)),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def start(self, *options: str) -> subprocess.Popen[str]:
        process = self.begin(*options)
        wait_for(lambda: self.status().process == process.pid)
        return process

    def status(self) -> protocol.Status:
        answer = client.ask(self.store, protocol.AskStatus())
        return answer if isinstance(answer, protocol.Status) else NO_STATUS

    def fastsa(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [INSTALLED, *arguments],
            env=environment(self.store, XDG_RUNTIME_DIR=str(self.runtime)),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def end(self) -> None:
        for process in self.processes:
            with_worker = workers(process.pid) if process.poll() is None else []
            process.kill()
            process.communicate()
            for worker in with_worker:
                with suppress(ProcessLookupError):  # it goes with its daemon
                    os.kill(worker, signal.SIGKILL)


NO_STATUS = protocol.Status(0, "", "", 0.0, 0, {})


def wait_for(true: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def workers(daemon: int) -> list[int]:
    """Process numbers of a daemon's workers."""
    file = Path(f"/proc/{daemon}/task/{daemon}/children")
    return [int(word) for word in file.read_text().split()]


def ended(request: Request | None) -> bool:
    return request is not None and request.state in ("planned", "failed")


@pytest.fixture
def daemons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemons]:
    made = Daemons(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(made.runtime))
    yield made
    made.end()


@pytest.fixture
def store(daemons: Daemons) -> Iterator[Store]:
    with Store.open(daemons.store) as opened:
        opened.add_graph(GRAPH)
        yield opened


class TestWork:
    def test_it_plans_what_is_asked_for(self, daemons: Daemons, store: Store) -> None:
        request = store.requests.put("plan", KEY, PEAK * 3 // 4)
        daemons.start()
        wait_for(lambda: ended(store.requests.get(request.id)))
        now = store.requests.get(request.id)
        assert now is not None
        assert now.state == "planned", now.reason
        assert now.plan is not None
        assert store.plan(now.plan).peak_bytes <= PEAK * 3 // 4

    def test_a_job_tells_it(self, daemons: Daemons, store: Store) -> None:
        daemons.start()
        Background(store.path).made(KEY, PEAK * 3 // 4)
        wait_for(lambda: store.requests.counts() == {"improve.planned": 1})
        assert len(store.list_items("plan")) == 1

    def test_a_curve(self, daemons: Daemons, store: Store) -> None:
        store.requests.put("curve", KEY, 0)
        daemons.start()
        wait_for(lambda: store.requests.counts() == {"curve.planned": 1})
        assert store.has_curve(KEY, PEAK, GRAPH.base_seconds)

    def test_what_jobs_have_used(self, daemons: Daemons, store: Store) -> None:
        """No daemon was there when they ran. A better plan, then a curve, and then it is idle."""
        worse = random_plan(GRAPH, random.Random(0), forget=0.9)
        budget = max(worse.peak_bytes, PEAK * 3 // 4)
        plan_id = store.add_plan(msgspec.structs.replace(worse, budget_bytes=budget), KEY)
        store.add_run(msgspec.structs.replace(builders.run(plan_id), created=now()))
        process = daemons.start()
        done = {"improve.planned": 1, "curve.planned": 1}
        wait_for(lambda: store.requests.counts() == done)
        best = store.find_plan(KEY, budget)
        assert best is not None
        assert best.plan.seconds < worse.seconds
        assert store.has_curve(KEY, PEAK, GRAPH.base_seconds)
        store.add_run(builders.run(best.id))  # of long ago
        time.sleep(2 * LOOK_SECONDS)
        assert store.requests.counts() == done
        assert workers(process.pid) == []
        counters = store.counters()
        assert counters["daemon.improve.made"] == 1
        assert counters["plan.hit"] == 1, "that of this test: the daemon is no job"

    def test_only_what_is_asked_for(self, daemons: Daemons, store: Store) -> None:
        worse = random_plan(GRAPH, random.Random(0), forget=0.9)
        plan_id = store.add_plan(worse, KEY)
        store.add_run(msgspec.structs.replace(builders.run(plan_id), created=now()))
        daemons.start("--only-asked")
        time.sleep(2 * LOOK_SECONDS)
        assert store.requests.counts() == {}

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

    def test_it_imports_no_torch(self, daemons: Daemons, store: Store) -> None:
        process = daemons.start()
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert "python" in maps
        assert "libtorch" not in maps


class TestDeath:
    def test_a_worker_that_dies_twice(self, daemons: Daemons, store: Store) -> None:
        hard = big_graph()
        store.add_graph(hard)
        peak = plan(hard, graphs.INT64_MAX, time_limit=0, iterations=0).peak_bytes
        request = store.requests.put("improve", builders.key(hard), peak // 2)
        process = daemons.start("--search-time", "600")
        for attempt in (1, 2):
            wait_for(lambda attempt=attempt: attempts(store, request) == attempt)  # type: ignore[misc]
            (worker,) = workers(process.pid)
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda worker=worker: worker not in workers(process.pid))  # type: ignore[misc]
        wait_for(lambda: ended(store.requests.get(request.id)))
        now = store.requests.get(request.id)
        assert now is not None
        assert (now.state, now.reason) == ("failed", "whoever planned it died, twice")
        assert daemons.status().process == process.pid

    def test_its_worker_goes_with_it(self, daemons: Daemons, store: Store) -> None:
        hard = big_graph()
        store.add_graph(hard)
        peak = plan(hard, graphs.INT64_MAX, time_limit=0, iterations=0).peak_bytes
        request = store.requests.put("improve", builders.key(hard), peak // 2)
        process = daemons.start("--search-time", "600")
        wait_for(lambda: running(store, request))
        (worker,) = workers(process.pid)
        process.kill()
        process.wait()
        wait_for(lambda: not Path(f"/proc/{worker}/exe").exists(), seconds=30)
        now = store.requests.get(request.id)
        assert now is not None
        assert now.state == "waiting"

    def test_every_request_ends(self, daemons: Daemons, store: Store) -> None:
        """Killed again and again with what it does; what is left is taken up by the next one."""
        wanted = [store.requests.put("plan", KEY, PEAK - 50 * n).id for n in range(12)]
        for _ in range(5):
            process = daemons.start()
            time.sleep(0.3)
            for worker in workers(process.pid):
                os.kill(worker, signal.SIGKILL)
            process.kill()
            process.wait()
        daemons.start()
        wait_for(lambda: all(ended(store.requests.get(name)) for name in wanted))
        for name in wanted:
            now = store.requests.get(name)
            assert now is not None
            assert now.plan if now.state == "planned" else now.reason

    def test_it_stops_at_once_and_keeps_the_request(self, daemons: Daemons, store: Store) -> None:
        hard = big_graph()
        store.add_graph(hard)
        peak = plan(hard, graphs.INT64_MAX, time_limit=0, iterations=0).peak_bytes
        request = store.requests.put("improve", builders.key(hard), peak // 2)
        process = daemons.start("--search-time", "600")
        wait_for(lambda: running(store, request))
        assert daemons.fastsa("daemon", "stop").stdout == "Stopped.\n"
        assert process.wait(10) == 0
        now = store.requests.get(request.id)
        assert now is not None
        assert (now.state, now.attempts) == ("waiting", 0)
        assert not place_of(store.path).socket.exists()


def attempts(store: Store, request: Request) -> int:
    now = store.requests.get(request.id)
    return 0 if now is None else now.attempts


def improved(store: Store) -> set[str]:
    """Graphs."""
    done = [each for each in store.requests.latest() if each.state == "planned"]
    return {each.key.graph for each in done if each.kind == "improve"}


def running(store: Store, request: Request) -> bool:
    now = store.requests.get(request.id)
    return now is not None and now.state == "running"


def big_graph() -> graphs.Graph:
    """A real one that a worker is busy with for a while."""
    folder = GRAPHS
    return graphs.read(sorted(folder.glob("*.json*"), key=lambda each: each.stat().st_size)[-1])


class TestJobs:
    def test_one_that_plans_has_the_cores(self, daemons: Daemons, store: Store) -> None:
        hard = big_graph()
        store.add_graph(hard)
        peak = plan(hard, graphs.INT64_MAX, time_limit=0, iterations=0).peak_bytes
        request = store.requests.put("improve", builders.key(hard), peak // 2)
        process = daemons.start("--search-time", "600")
        wait_for(lambda: running(store, request))
        Background(store.path).plans(30)
        wait_for(lambda: not workers(process.pid), seconds=10)
        now = store.requests.get(request.id)
        assert now is not None
        assert now.state == "waiting"

    def test_a_daemon_that_hangs(self, daemons: Daemons, store: Store) -> None:
        process = daemons.start()
        process.send_signal(signal.SIGSTOP)
        try:
            told = Background(store.path)
            told.plans(5)
            told.made(KEY, PEAK)
            done = daemons.fastsa("run", "--budget", "80%", "--time-limit", "0.5", str(PLAIN))
            assert done.returncode == 0
            assert "fastsa: plan made" in done.stderr
        finally:
            process.send_signal(signal.SIGCONT)

    def test_no_daemon(self, daemons: Daemons, store: Store) -> None:
        Background(store.path).made(KEY, PEAK)
        assert store.requests.counts() == {}
        assert not daemons.runtime.exists()

    def test_its_plan_is_improved(self, daemons: Daemons, store: Store) -> None:
        daemons.start()
        done = daemons.fastsa("run", "--budget", "65%", "--time-limit", "0.1", str(PLAIN))
        assert done.returncode == 0
        # Of the region that was planned, and of the step that was recorded then.
        wait_for(lambda: len(improved(store)) == 2, seconds=120)


class TestSocket:
    def send(self, store: Store, data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(place_of(store.path).socket))
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(4096):
                answer += part
            return answer

    @pytest.mark.parametrize(
        "body",
        [
            b'{"version": 2, "body": {"type": "status"}}',
            b'{"version": 1, "body": {"type": "remove"}}',
            b'{"version": 1, "body": {"type": "improve"}}',
            b'{"version": 1, "body": ' + b"[" * 60_000,
            b"\xff\xfe",
            b"",
        ],
    )
    def test_nonsense_is_refused(self, daemons: Daemons, store: Store, body: bytes) -> None:
        process = daemons.start()
        answer = self.send(store, protocol.HEADER.pack(len(body)) + body)
        assert isinstance(protocol.answer(answer[protocol.HEADER.size :]), protocol.Refused)
        assert daemons.status().process == process.pid

    @pytest.mark.parametrize("data", [b"", b"\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x09{"])
    def test_halves_are_dropped(self, daemons: Daemons, store: Store, data: bytes) -> None:
        process = daemons.start()
        self.send(store, data)
        assert daemons.status().process == process.pid

    def test_files_are_the_users_alone(self, daemons: Daemons, store: Store) -> None:
        daemons.start()
        place = place_of(store.path)
        assert place.socket.parent.stat().st_mode & 0o777 == 0o700
        assert place.socket.stat().st_mode & 0o777 == 0o600

    def test_one_daemon_for_each_store(self, daemons: Daemons, store: Store) -> None:
        first = daemons.start()
        second = daemons.begin()
        assert second.wait(30) == 1
        assert second.stderr is not None
        assert "a daemon runs for this store already" in second.stderr.read()
        assert daemons.status().process == first.pid

    def test_from_another_login(
        self, daemons: Daemons, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """With a runtime folder of its own: it finds the daemon, and cannot be a second one."""
        process = daemons.start()
        daemons.runtime = tmp_path / "another"
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(daemons.runtime))
        assert daemons.status().process == process.pid
        second = daemons.begin()
        assert second.wait(60) == 1
        assert second.stderr is not None
        assert "a daemon runs for this store already" in second.stderr.read()

    @pytest.mark.parametrize(
        "said", [b"", b"relative", b"\0", b"/" + b"x" * 500, b"/nowhere/at.sock", b"\xff\xfe"]
    )
    def test_a_lock_that_says_nothing(self, daemons: Daemons, store: Store, said: bytes) -> None:
        place_of(store.path).lock.write_bytes(said)
        assert daemons.status() == NO_STATUS
        assert daemons.start().poll() is None

    def test_a_lock_that_is_a_link(self, daemons: Daemons, store: Store, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_text("precious")
        place_of(store.path).lock.symlink_to(victim)
        assert daemons.begin().wait(60) == 1
        assert victim.read_text() == "precious"

    def test_a_socket_left_behind(self, daemons: Daemons, store: Store) -> None:
        first = daemons.start()
        first.kill()
        first.wait()
        assert place_of(store.path).socket.exists()
        second = daemons.start()
        assert daemons.status().process == second.pid

    def test_a_folder_that_others_may_enter(self, daemons: Daemons, store: Store) -> None:
        folder = daemons.runtime / "fastsa"
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        assert client.ask(store.path, protocol.AskStatus()) is None
        process = daemons.begin()
        assert process.wait(30) == 1
        assert process.stderr is not None
        assert "others may enter it" in process.stderr.read()

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
        daemons.start("--metrics-file", str(file))
        store.requests.put("plan", builders.key(builders.graph(9)), PEAK)
        wait_for(lambda: file.exists() and 'state="failed"' in file.read_text())
        text = daemons.fastsa("daemon", "status", "--metrics").stdout
        sample = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+')
        lines = [line for line in text.splitlines() if not line.startswith("# ")]
        assert lines
        assert all(sample.fullmatch(line) for line in lines)
        assert 'fastsa_requests{kind="plan",state="failed"} 1' in lines

    def test_metrics_file(self, daemons: Daemons, store: Store, tmp_path: Path) -> None:
        """It is written while plans are made, too."""
        big = big_graph()
        store.add_graph(big)
        store.requests.put("plan", builders.key(big), graphs.INT64_MAX // 2)
        file = tmp_path / "fastsa.prom"
        daemons.start("--metrics-file", str(file), "--search-time", "600")
        wait_for(lambda: file.exists() and "fastsa_daemon_working 1" in file.read_text())

    def test_unit(self, daemons: Daemons) -> None:
        told = daemons.fastsa("daemon", "unit").stdout
        assert f"daemon run --store {daemons.store}\n" in told
        assert "[Install]" in told

    def test_no_log(self, daemons: Daemons) -> None:
        done = daemons.fastsa("daemon", "logs")
        assert done.returncode == 2
