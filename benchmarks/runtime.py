"""Planned against plain steps, predicted against measured peaks, and the cost of a job's start.

Plain and planned steps alternate in one process, so that their ratio holds on a busy machine.

    python benchmarks/runtime.py [--budget 50%] [--steps 15] [--output FILE]
"""

from __future__ import annotations

import copy
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path

import click
import msgspec
import torch
import torch.nn.functional as F
from torch import nn

from fastsa.cache.store import Store
from fastsa.capture.joint_graph import Capture
from fastsa.errors import FastsaWarning
from fastsa.planner.budget import parse
from fastsa.runtime.decision import Decision
from fastsa.runtime.job import Job
from fastsa.runtime.selector import ALONE, Needs
from fastsa.runtime.settings import Settings

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

from train_gpt import GPT  # noqa: E402
from train_resnet import ResNet  # noqa: E402

Step = Callable[[nn.Module], torch.Tensor]
Make = Callable[[], tuple[nn.Module, Step]]


class Result(msgspec.Struct):
    """One example. Seconds, bytes; ratios are of medians over alternating steps."""

    name: str
    plain_peak: int
    predicted_peak: int
    measured_peak: int
    predicted_overhead: float
    bound: float
    measured_overhead: float
    floor_overhead: float
    plain_seconds: float
    lookup_seconds: float


class TimedJob(Job):
    """A job that decides again once it has its plan, as the next start would, and times that."""

    decided_in = 0.0

    def decide(self, captured: Capture, needs: Needs = ALONE, *, is_whole: bool = True) -> Decision:
        """As any job, then ten times more: the median counts."""
        first = super().decide(captured)
        times = []
        for _ in range(10):
            start = time.perf_counter()
            found = super().decide(captured)
            times.append(time.perf_counter() - start)
            assert found.origin == "found"
        self.decided_in = statistics.median(times)
        return first


class SettledJob(Job):
    """A job whose decision is made already: other models in the process do not change it."""

    def __init__(self, settings: Settings, decision: Decision) -> None:
        super().__init__(settings)
        self.decided = decision

    def decide(self, captured: Capture, needs: Needs = ALONE, *, is_whole: bool = True) -> Decision:
        """What was decided before."""
        return self.decided


def gpt() -> tuple[nn.Module, Step]:
    """The GPT example's model at its default size, and its step."""
    ids = torch.randint(0, 100, (8, 257))
    return GPT(4, 192, 6, 256, 0.1), lambda model: model(ids[:, :-1], ids[:, 1:])[1]


def resnet() -> tuple[nn.Module, Step]:
    """The ResNet example's model at its default size, and its step."""
    images, labels = torch.randn(96, 3, 32, 32), torch.randint(0, 10, (96,))
    return ResNet(3, 32, 10), lambda model: F.cross_entropy(model(images), labels)


def fastsa(store: Path, *arguments: str) -> None:
    """Run a command of fastsa on a store."""
    subprocess.run(
        [sys.executable, "-m", "fastsa", *arguments],
        env={**os.environ, "FASTSA_STORE": str(store)},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def measure(name: str, make: Make, budget: str, steps: int) -> Result:
    """Profile and run the example as a user would, then alternate plain and planned steps."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        script = str(EXAMPLES / f"train_{name}.py")
        fastsa(path, "profile", script)
        fastsa(path, "run", "--budget", budget, script)
        with Store.open(path) as store:
            plain_peak = store.profile(store.list_items("profile")[0].id).peak_bytes
            job = store.run(store.list_items("run")[0].id)
        assert job.measured_peak_bytes is not None
        timed = TimedJob(Settings(budget=parse(budget), store=path))
        run_planned(make, timed, 1)
        decision = timed.decisions.first
        times = run_planned(make, SettledJob(timed.settings, decision), steps, against_plain=True)
    chosen = decision.plan
    return Result(
        name=name,
        plain_peak=plain_peak,
        predicted_peak=job.predicted_peak_bytes,
        measured_peak=job.measured_peak_bytes,
        predicted_overhead=chosen.extra_seconds / chosen.base_seconds,
        bound=chosen.lower_bound_seconds / chosen.base_seconds,
        measured_overhead=times["planned"] / times["plain"] - 1,
        floor_overhead=times["unplanned"] / times["plain"] - 1,
        plain_seconds=times["plain"],
        lookup_seconds=timed.decided_in,
    )


def run_planned(make: Make, job: Job, steps: int, against_plain: bool = False) -> dict[str, float]:
    """Median step seconds of the planned model; with `against_plain` of the others, alternating."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, step = make()
    models = {"planned": model}
    if against_plain:
        models["plain"] = copy.deepcopy(model)
        models["unplanned"] = copy.deepcopy(model)
        models["unplanned"].compile(backend="aot_eager_default_partitioner")
    model.compile(backend=job.compile)
    optimizers = {k: torch.optim.AdamW(m.parameters()) for k, m in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(steps + 2):
        for name, each in models.items():
            start = time.perf_counter()
            optimizers[name].zero_grad()
            step(each).backward()
            seconds[name].append(time.perf_counter() - start)
            optimizers[name].step()
    job.close()
    return {name: statistics.median(values[5:] or values) for name, values in seconds.items()}


def help_seconds() -> float:
    """The fastest of five `fastsa --help`."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "fastsa", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def table(results: list[Result], budget: str, help_time: float) -> str:
    """The results as a markdown page."""
    lines = [
        "# Benchmarks of the runtime",
        "",
        f"{date.today().isoformat()}, {platform.machine()} CPU, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, Python {platform.python_version()}, budget {budget}. "
        "By `python benchmarks/runtime.py`. Peaks are of the whole process.",
        "",
        "| example | plain peak | planned: predicted | planned: measured | of plain | difference |",
        "|---|---|---|---|---|---|",
    ]
    for r in results:
        lines.append(
            f"| {r.name} | {r.plain_peak / 2**20:.1f} MiB | {r.predicted_peak / 2**20:.1f} MiB "
            f"| {r.measured_peak / 2**20:.1f} MiB | {r.measured_peak / r.plain_peak:.1%} "
            f"| {r.measured_peak / r.predicted_peak - 1:+.2%} |"
        )
    lines += [
        "",
        "| example | plain step | extra predicted | bound | measured "
        "| compiled, unplanned | start-up |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        lines.append(
            f"| {r.name} | {r.plain_seconds:.3f} s | {r.predicted_overhead:+.1%} "
            f"| {r.bound:+.1%} "
            f"| {r.measured_overhead:+.1%} | {r.floor_overhead:+.1%} "
            f"| {1000 * r.lookup_seconds:.1f} ms |"
        )
    lines += [
        "",
        "*Start-up* is from the captured graph to a validated stored plan: opening the store, "
        "reading the measured graph and the plan, counting what is resident, validating.",
        f"`fastsa --help`: {1000 * help_time:.0f} ms, fastest of five.",
        "",
    ]
    return "\n".join(lines)


@click.command()
@click.option("--budget", default="50%")
@click.option("--steps", default=15)
@click.option("--output", type=click.Path(path_type=Path))
def main(budget: str, steps: int, output: Path | None) -> None:
    """Run both examples and print the page."""
    warnings.simplefilter("ignore", FastsaWarning)  # three models share the process
    results = [measure("gpt", gpt, budget, steps), measure("resnet", resnet, budget, steps)]
    page = table(results, budget, help_seconds())
    print(page)
    if output is not None:
        output.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
