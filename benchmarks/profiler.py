"""What profiling costs: steps that are not recorded, the recorded one, a million events.

Watched and plain steps alternate in one process, so that their ratio holds on a busy machine.

    python benchmarks/profiler.py [--pairs 40] [--million]
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import click
import torch
from torch import nn

import fastsa
from fastsa.cache.store import Store
from fastsa.instrumentation.module_hooks import BackwardCalls, RootCalls
from fastsa.instrumentation.step_clock import StepClock
from fastsa.profiler.recording import Recording
from fastsa.records.profile import Profile

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

from train_gpt import GPT  # noqa: E402

Step = Callable[[], None]
MILLION = 1_000_000


def example() -> Step:
    """The step of examples/train_gpt.py."""
    torch.manual_seed(0)
    model = GPT(4, 192, 6, 256, 0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    tokens = torch.randint(128, (8, 256))

    def step() -> None:
        optimizer.zero_grad()
        loss = model(tokens, tokens)[1]
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def seconds(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def watched(step: Step) -> Step:
    """A step with all hooks of a profile in place, while nothing is recorded."""
    clock = StepClock(lambda number: None)

    def run() -> None:
        with ExitStack() as hooks:
            hooks.enter_context(RootCalls(lambda module, args, kwargs, call: call()))
            hooks.enter_context(BackwardCalls(lambda tensors, again: None, clock.backward_ended))
            clock.forward()
            step()

    return run


def ratio(one: Step, other: Step, pairs: int) -> float:
    """Median of the ratios of steps next to each other."""
    ratios = []
    for i in range(pairs):
        first, second = (one, other) if i % 2 else (other, one)
        times = {id(each): seconds(each) for each in (first, second)}
        ratios.append(times[id(one)] / times[id(other)])
    return statistics.median(ratios)


def recorded_ratio(step: Step, repeats: int = 5) -> float:
    """The recorded step, as long as it lasts, to plain steps before and after."""
    ratios = []
    for _ in range(repeats):
        before = seconds(step)
        with fastsa.profile() as p:
            step()
        ratios.append(p.profile.timeline.seconds / statistics.mean((before, seconds(step))))
    return statistics.median(ratios)


def whole_command() -> tuple[float, Profile]:
    """`fastsa-profile examples/train_gpt.py` from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "store.db"
        command = [Path(sys.executable).parent / "fastsa-profile", EXAMPLES / "train_gpt.py"]
        start = time.perf_counter()
        subprocess.run(
            command, env={**os.environ, "FASTSA_STORE": str(place)}, check=True, capture_output=True
        )
        spent = time.perf_counter() - start
        with Store.open(place) as store:
            return spent, store.profile(store.list_items("profile")[0].id)


def tell_million() -> None:
    """A million allocations and releases: host memory and time."""
    x = torch.ones(16)
    with torch.no_grad():
        recording = Recording(torch.device("cpu"), [])
        for _ in range(MILLION // 2):
            x + x  # one block, made and released
        start = time.perf_counter()
        recording.stop()
        stopped = time.perf_counter()
        found = recording.read()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{found.timeline.events:,} events: stopped in {stopped - start:.1f} s, read in "
        f"{time.perf_counter() - stopped:.1f} s, {peak:.1f} GiB of host memory at most"
    )


@click.command(help=__doc__)
@click.option("--pairs", default=40, show_default=True)
@click.option("--million", is_flag=True, help="Only the million events.")
def main(pairs: int, million: bool) -> None:
    print(
        f"{date.today()}, {platform.machine()} CPU, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )
    if million:
        tell_million()
        return
    step = example()
    for _ in range(3):
        step()
    print(f"watched step to plain step: {ratio(watched(step), step, pairs):.4f}")
    print(f"recorded step to plain step: {recorded_ratio(step):.2f}")
    spent, profile = whole_command()
    print(f"fastsa-profile examples/train_gpt.py: {spent:.1f} s")
    assert profile.step_seconds
    captured = sum(region.graph.base_seconds for region in profile.regions)
    print(f"recorded step {profile.recorded_seconds:.3f} s, of which")
    for part in profile.step_parts:
        print(f"  {part.name:20} {part.seconds:.3f} s")
    print(f"captured ops, each measured alone: {captured:.3f} s")
    inside = sum(each.seconds for each in profile.ops if each.phase in ("forward", "backward"))
    print(f"forward and backward ops in the recorded step: {inside:.3f} s")


if __name__ == "__main__":
    main()
