"""The store under load: lookups beside busy writers, writers killed at random, many at once.

python benchmarks/store_load.py [--plans 10000] [--kills 200] [--seconds 30]
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from fastsa.cache.keys import PlanKey
from fastsa.cache.store import Store
from fastsa.errors import FastsaError
from fastsa.planner.graph import Graph, read
from fastsa.planner.plan import Plan
from fastsa.planner.solve import plan

HERE = Path(__file__).parent
GRAPH = HERE / "graphs" / "resnet18.graph.json.gz"
PER_GRAPH = 10  # plans with the same key
context = multiprocessing.get_context("spawn")


def key(graph: Graph, number: int) -> PlanKey:
    """A key of its own for each number."""
    return PlanKey(graph.hash(), f"device {number}", "2.13.0", None, "2")


def variant(made: Plan, number: int) -> Plan:
    """A plan that is another by its seed."""
    planner = msgspec.structs.replace(made.planner, seed=number)
    return msgspec.structs.replace(made, planner=planner, seconds=made.seconds + 1e-9 * number)


def fill(path: Path, graph: Graph, made: Plan, plans: int) -> None:
    """Store so many plans."""
    with Store.open(path) as store:
        store.add_graph(graph)
        for number in range(plans // PER_GRAPH):
            several = [variant(made, number * PER_GRAPH + i) for i in range(PER_GRAPH)]
            store.add_plans(several, key(graph, number))


def write(path: Path, graph: Graph, made: Plan, start: int, stop: Path, written: Path) -> None:
    """Add plans until told to stop; note each id once it is stored."""
    with Store.open(path) as store, written.open("a") as file:
        number = start
        while not stop.exists():
            try:
                plan_id = store.add_plan(variant(made, number), key(graph, number % 97))
            except FastsaError as error:
                file.write(f"error {error}\n")
            else:
                file.write(f"{plan_id}\n")
            file.flush()
            number += 1


def written_ids(folder: Path) -> tuple[set[str], list[str]]:
    """Ids that were said to be stored, and errors."""
    lines = [line for each in folder.glob("written*") for line in each.read_text().split("\n")[:-1]]
    errors = [line for line in lines if line.startswith("error")]
    return {line for line in lines if not line.startswith("error")}, errors


class Load:
    """A folder with a store, and writers on it."""

    def __init__(self, folder: Path, graph: Graph, made: Plan) -> None:
        self.folder, self.path = folder, folder / "store.db"
        self.graph, self.made = graph, made
        self.stop = folder / "stop"
        self.writers: list[multiprocessing.process.BaseProcess] = []

    def begin(self, writers: int) -> None:
        """Start writers."""
        for _ in range(writers):
            number = random.randrange(1 << 30)
            arguments = (self.graph, self.made, number, self.stop, self.folder / f"written{number}")
            process = context.Process(target=write, args=(self.path, *arguments))
            process.start()
            self.writers.append(process)

    def wait(self) -> None:
        """Until all of them write."""
        while self.writing() < len(self.writers):
            time.sleep(0.05)

    def writing(self) -> int:
        """How many have stored something."""
        return sum(each.stat().st_size > 0 for each in self.folder.glob("written*"))

    def end(self) -> None:
        """Stop the writers."""
        self.stop.touch()
        for each in self.writers:
            each.join()

    def lost(self) -> tuple[int, int, int, int]:
        """Plans written, of them lost, flaws in the store, errors told."""
        ids, errors = written_ids(self.folder)
        with Store.open(self.path) as store:
            there = {row.id for row in store.list_items("plan")}
            flaws = list(store.check())
        return len(ids), len(ids - there), len(flaws), len(errors)


def milliseconds(times: Sequence[float]) -> str:
    """Median and 99th percentile."""
    ordered = sorted(times)
    worst = ordered[int(len(ordered) * 0.99)]
    return f"{1e3 * statistics.median(ordered):.2f} ms | {1e3 * worst:.2f} ms"


def lookups(load: Load, plans: int, count: int = 2000) -> list[float]:
    """Seconds of single lookups."""
    times = []
    with Store.open(load.path) as store:
        for _ in range(count):
            wanted = key(load.graph, random.randrange(plans // PER_GRAPH))
            started = time.perf_counter()
            found = store.find_plan(wanted, load.made.peak_bytes)
            times.append(time.perf_counter() - started)
            assert found is not None
    return times


def kill(load: Load, kills: int) -> None:
    """Kill writers at random moments."""
    for _ in range(kills):
        begun = load.writing()
        load.begin(1)
        while load.writing() == begun:
            time.sleep(0.01)
        victim = load.writers.pop()
        time.sleep(random.uniform(0, 0.2))
        victim.kill()
        victim.join()


@click.command(help=__doc__)
@click.option("--plans", default=10_000)
@click.option("--kills", default=200)
@click.option("--writers", default=64)
@click.option("--seconds", default=30.0)
def main(plans: int, kills: int, writers: int, seconds: float) -> None:
    """Print the tables."""
    graph = read(GRAPH)
    made = plan(graph, 1 << 62, time_limit=0.2)
    folder = Path(tempfile.mkdtemp())
    try:
        load = Load(folder / "lookups", graph, made)
        load.folder.mkdir()
        fill(load.path, graph, made, plans)
        print("| lookup of a plan | median | 99% |\n|---|---|---|")
        print(f"| of {plans} | {milliseconds(lookups(load, plans))} |")
        load.begin(8)
        load.wait()
        print(f"| beside 8 busy writers | {milliseconds(lookups(load, plans))} |\n")
        load.end()
        print("| | plans stored | lost | flaws | errors |\n|---|---|---|---|---|")
        load = Load(folder / "kills", graph, made)
        load.folder.mkdir()
        kill(load, kills)
        print(f"| a writer killed {kills} times |", " | ".join(map(str, load.lost())), "|")
        sys.stdout.flush()
        load = Load(folder / "many", graph, made)
        load.folder.mkdir()
        load.begin(writers)
        load.wait()
        time.sleep(seconds)
        load.end()
        row = " | ".join(map(str, load.lost()))
        print(f"| {writers} writers for {seconds:g} s | {row} |")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
