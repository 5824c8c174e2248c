"""What fastsa costs beside the ops: seconds of a job's start, microseconds per op of a step.

Starts are processes of their own, in turn, torch's `aot_eager` beside fastsa's first start, one
with a stored plan whose graphs torch no longer has, and one out of torch's cache. Steps of a tiny
GPT alternate in one process; one thread. Seconds are of the processor: they hold on a busy machine.

    python benchmarks/overhead.py [--layers 12] [--rounds 3] [--steps 60] [--output FILE]
"""

from __future__ import annotations

import copy
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import click
import msgspec
import torch
from peer_models import LanguageModel, Size

from fastsa.errors import FastsaWarning

TINY = Size(kind="gpt", layers=12, width=64, heads=4, vocabulary=64, length=16, batch=2)
WAYS = ("aot_eager", "first", "planned", "cached")


def batch(size: Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and targets."""
    ids = torch.randint(0, size.vocabulary, (size.batch, size.length + 1))
    return ids[:, :-1], ids[:, 1:]


def start(way: str, layers: int) -> None:
    """A job's process: to the end of its first backward; prints its seconds."""
    warnings.simplefilter("ignore", FastsaWarning)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    size = msgspec.structs.replace(TINY, layers=layers, length=64, dropout=0.1)
    model = LanguageModel(size)
    torch.optim.AdamW(model.parameters())
    planned: dict[str, Any] = {"budget": "85%", "time_limit": 5.0}
    options = None if way == "aot_eager" else planned
    backend = "aot_eager" if way == "aot_eager" else "fastsa"
    call = torch.compile(model, backend=backend, options=options)
    began = time.process_time()
    loss = call(*batch(size))
    loss.backward()
    total = time.process_time()
    print(json.dumps({"compile": total - began, "total": total, "loss": loss.item()}))


def starts(layers: int, rounds: int) -> dict[str, dict[str, float]]:
    """The fastest start of each kind."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for way in WAYS:
                if way == "planned":
                    shutil.rmtree(Path(folder) / "torch", ignore_errors=True)
                found[way].append(_start_apart(way, layers, Path(folder)))
    assert len({one["loss"] for rows in found.values() for one in rows}) == 1
    return {way: min(rows, key=lambda row: row["total"]) for way, rows in found.items()}


def _start_apart(way: str, layers: int, folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--start", way, "--layers", str(layers)],
        env={
            **os.environ,
            "FASTSA_STORE": str(folder / "store.db"),
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "torch"),
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def host(layers: int, steps: int) -> tuple[dict[str, tuple[float, float]], int]:
    """Median seconds of forwards and backwards by way, alternating; and the graph's ops."""
    torch.set_num_threads(1)
    size = msgspec.structs.replace(TINY, layers=layers)
    model, data = LanguageModel(size), batch(size)
    calls: dict[str, Callable[..., torch.Tensor]] = {"eager": copy.deepcopy(model)}
    for way in ("aot_eager", "aot_eager_default_partitioner"):
        calls[way] = torch.compile(copy.deepcopy(model), backend=way)
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {
            "budget": 2**40,
            "time_limit": 1.0,
            "store": f"{folder}/store.db",
        }
        calls["fastsa"] = torch.compile(copy.deepcopy(model), backend="fastsa", options=options)
        times = _alternate(calls, data, steps)
        from fastsa.runtime.dynamo_backend import _jobs

        job = next(iter(_jobs.values()))
        job.close()
    plan = job.decisions.first.plan
    assert plan.extra_seconds == 0
    return times, len(plan.sequence)


def _alternate(
    calls: dict[str, Callable[..., torch.Tensor]], data: tuple[torch.Tensor, ...], steps: int
) -> dict[str, tuple[float, float]]:
    forward: dict[str, list[float]] = {way: [] for way in calls}
    backward: dict[str, list[float]] = {way: [] for way in calls}
    for _ in range(steps + 5):
        for way, call in calls.items():
            began = time.perf_counter()
            loss = call(*data)
            middle = time.perf_counter()
            loss.backward()
            forward[way].append(middle - began)
            backward[way].append(time.perf_counter() - middle)
    return {w: (_middle(forward[w][5:]), _middle(backward[w][5:])) for w in calls}


def _middle(values: list[float]) -> float:
    """The first quartile: others on the machine only ever add."""
    return statistics.quantiles(values, n=4)[0]


def page(
    layers: int, begun: dict[str, dict[str, float]], times: dict[str, tuple[float, float]], ops: int
) -> str:
    """The results as markdown."""
    names = {
        "aot_eager": "`aot_eager` of torch",
        "first": "fastsa, first start (measures every op, plans)",
        "planned": "fastsa, plan stored, torch's cache empty",
        "cached": "fastsa, out of torch's cache",
    }
    base = begun["aot_eager"]
    lines = [
        f"{date.today().isoformat()}, {platform.machine()} CPU, 1 thread, torch "
        f"{torch.__version__}, Python {platform.python_version()}, GPT of {layers} layers. "
        "By `python benchmarks/overhead.py`.",
        "",
        "| start | first step | of aot_eager | with imports | of aot_eager |",
        "|---|---|---|---|---|",
    ]
    for way, row in begun.items():
        lines.append(
            f"| {names[way]} | {row['compile']:.2f} s | {row['compile'] / base['compile']:.2f} "
            f"| {row['total']:.2f} s | {row['total'] / base['total']:.2f} |"
        )
    lines += ["", f"| step of {ops} ops | forward | backward | of aot_eager |", "|---|---|---|---|"]
    whole = sum(times["aot_eager"])
    for way, (forward, backward) in times.items():
        lines.append(
            f"| {way} | {1000 * forward:.2f} ms | {1000 * backward:.2f} ms "
            f"| {(forward + backward) / whole:.3f} |"
        )
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--layers", default=TINY.layers)
@click.option("--rounds", default=3, help="starts of each kind")
@click.option("--steps", default=60)
@click.option("--output", type=click.Path(path_type=Path))
@click.option("--start", "way", type=click.Choice(WAYS), hidden=True)
def main(layers: int, rounds: int, steps: int, output: Path | None, way: str | None) -> None:
    """Measure both and print the page."""
    if way is not None:
        start(way, layers)
        return
    begun = starts(layers, rounds)
    text = page(layers, begun, *host(layers, steps))
    print(text)
    if output is not None:
        output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
