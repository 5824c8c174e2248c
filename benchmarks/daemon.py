"""The daemon: killed at random under load, asked while it works, and idle.

python benchmarks/daemon.py [--kills 50] [--questions 2000] [--idle 60]
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click
import msgspec

from fastsa.cache.keys import PlanKey
from fastsa.cache.store import Store
from fastsa.daemon import client, protocol
from fastsa.planner.graph import INT64_MAX, Graph, read
from fastsa.planner.solve import plan

GRAPH = Path(__file__).parent / "graphs" / "resnet18.graph.json.gz"
SEARCH_SECONDS = 0.3
HERTZ = os.sysconf("SC_CLK_TCK")


def key(graph: Graph, number: int) -> PlanKey:
    """A key of its own for each number."""
    return PlanKey(graph.hash(), f"device {number}", "2.13.0", None, "2")


class Daemon:
    """The daemon of one store, begun again whenever it was killed."""

    def __init__(self, store: Path, *options: str) -> None:
        self.store = store
        self._command = [sys.executable, "-m", "fastsa", "daemon", "run", "--store", str(store)]
        self._command += ["--search-time", str(SEARCH_SECONDS), *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """Begin it; its process number once it answers."""
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        while not isinstance(client.ask(self.store, protocol.AskStatus()), protocol.DaemonStatus):
            time.sleep(0.05)
        return self._process.pid

    def kill(self) -> None:
        """As the system does when memory runs out."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def workers(self) -> list[int]:
        """Process numbers of those that plan for it."""
        assert self._process is not None
        number = self._process.pid
        return list(map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split()))


def killed(store: Store, graph: Graph, kills: int, chance: random.Random) -> str:
    """Kill the daemon or its worker at random moments: what became of every request."""
    peak = plan(graph, INT64_MAX, time_limit=0.0, iterations=0).peak_bytes
    daemon, asked = Daemon(store.path), []
    daemon.start()
    for number in range(kills):
        for each in range(2):
            wanted = key(graph, 2 * number + each)
            budget = 1 if chance.random() < 0.2 else int(peak * chance.uniform(0.7, 1.0))
            asked.append(store.requests.put("plan", wanted, budget).id)
        time.sleep(chance.uniform(0.0, 1.5))
        if number % 2:
            daemon.kill()
            daemon.start()
        else:
            for worker in daemon.workers():
                os.kill(worker, signal.SIGKILL)
    started = time.monotonic()
    while store.requests.is_called_for() and time.monotonic() - started < 600:
        time.sleep(0.2)
    while any(each.state == "running" for each in store.requests.latest(len(asked))):
        time.sleep(0.2)
    daemon.kill()
    return judged(store, asked)


def judged(store: Store, asked: list[str]) -> str:
    """How requests have ended; a plan that was said to be made must be there."""
    ends: Counter[str] = Counter()
    for request_id in asked:
        request = store.requests.get(request_id)
        assert request is not None
        if request.state == "planned":
            assert request.plan is not None
            store.plan(request.plan)  # raises if there is none, or a damaged one
        ends[f"{request.state}{f' ({request.reason})' if request.reason else ''}"] += 1
    flaws = list(store.check())
    return ", ".join(f"{n} {end}" for end, n in ends.most_common()) + f"; {len(flaws)} flaws"


def asked(path: Path, questions: int) -> str:
    """Seconds of an answer, while nothing else happens."""
    taken = []
    for _ in range(questions):
        started = time.perf_counter()
        answer = client.ask(path, protocol.AskStatus())
        taken.append(time.perf_counter() - started)
        assert isinstance(answer, protocol.DaemonStatus)
    taken.sort()
    median, late = statistics.median(taken), taken[int(0.99 * len(taken))]
    return f"median {median * 1e3:.2f} ms, p99 {late * 1e3:.2f} ms"


def idle(number: int, seconds: float) -> str:
    """Processor time and memory of a daemon that has nothing to do."""

    def ticks() -> int:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(seconds)
    share = (ticks() - before) / HERTZ / seconds
    status = Path(f"/proc/{number}/status").read_text()
    (resident,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return f"{share:.2%} of a core, {int(resident) / 1024:.0f} MiB resident"


@click.command()
@click.option("--kills", default=50)
@click.option("--questions", default=2000)
@click.option("--idle", "idle_seconds", default=60.0)
@click.option("--seed", default=0)
def main(kills: int, questions: int, idle_seconds: float, seed: int) -> None:
    """Print what became of it."""
    graph = read(GRAPH)
    graph = msgspec.structs.replace(graph, name="resnet18")
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "store.db") as store:
        store.add_graph(graph)
        print(f"killed {kills} times: {killed(store, graph, kills, random.Random(seed))}")
        daemon = Daemon(store.path)
        number = daemon.start()
        print(f"asked {questions} times: {asked(store.path, questions)}")
        print(f"idle for {idle_seconds:g} s: {idle(number, idle_seconds)}")
        daemon.kill()


if __name__ == "__main__":
    main()
