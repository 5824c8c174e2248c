"""What a profile of a million allocations costs the store: seconds and memory, step by step.

Every row is a process of its own, so that its peak of resident memory is its own.

    python benchmarks/store.py [--allocations 1000000] [--folder /tmp]
"""

from __future__ import annotations

import heapq
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import click

from fastsa.cache.items import Item
from fastsa.cache.store import Store
from fastsa.profiler import profile_file
from fastsa.records.profile import Profile
from fastsa.records.timeline import CATEGORIES, PHASES, Allocation, Site, Timeline
from fastsa.report import export

SITES = 5_000  # places that a large model allocates from
STEPS = ("write", "read", "csv", "chrome-trace", "memory-viz", "import", "remove")
LIFETIME = 2_000  # events, at most


def timeline(allocations: int) -> Timeline:
    """Random lives that add up: each event is a birth or a death."""
    draw = random.Random(1)
    open_: list[tuple[int, int, int]] = []  # (when it is to die, bytes, birth)
    blocks: list[Allocation] = []
    alive = peak = peak_event = 0
    for event in range(2 * allocations):
        born = len(blocks) + len(open_)
        if open_ and (open_[0][0] <= event or born == allocations):
            _, size, birth = heapq.heappop(open_)
            blocks.append(_block(size, birth, event, draw))
            alive -= size
        else:
            size = 512 * draw.randint(1, 1 << 14)
            heapq.heappush(open_, (event + draw.randint(1, LIFETIME), size, event))
            alive += size
        if alive > peak:
            peak, peak_event = alive, event
    return Timeline(
        2 * allocations, 0, peak, peak_event, allocations * 2.74e-6, _sites(), tuple(blocks)
    )


def _block(size: int, birth: int, death: int, draw: random.Random) -> Allocation:
    site = draw.randrange(SITES)
    return Allocation(size, birth, death, birth * 1.37e-6, death * 1.37e-6, site)


def _sites() -> tuple[Site, ...]:
    return tuple(
        Site(
            CATEGORIES[i % len(CATEGORIES)],
            PHASES[i % len(PHASES)],
            op=f"aten::op_{i % 60}",
            module=f"transformer.h.{i % 97}.mlp",
            source=f"/home/somebody/project/models/transformer.py:{i}",
        )
        for i in range(SITES)
    )


def profile(allocations: int) -> Profile:
    """A profile with that timeline and nothing else."""
    blocks = timeline(allocations)
    return Profile(
        schema="fastsa.profile/2",
        created="2026-01-02T03:04:05+00:00",
        script="train.py",
        arguments=(),
        model="__main__.Net",
        parameters=0,
        shape="float32[8,16]",
        device="cpu",
        versions={},
        resident_bytes=0,
        peak_bytes=blocks.peak_bytes,
        step_seconds=None,
        timeline=blocks,
        saved=(),
        regions=(),
    )


def megabytes() -> float:
    """The peak of this process's resident memory so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def step(name: str, path: Path, allocations: int) -> None:
    """Run one step and print what it took as JSON."""
    made = profile(allocations) if name == "write" else None
    snapshot = path.with_name("snapshot.pickle")
    with Store.open(path) as store:
        wanted = store.list_items("profile")[0].id if made is None else ""
        found = store.profile(wanted) if name in export.FORMATS else None
        held, started = megabytes(), time.perf_counter()
        match name:
            case "write":
                assert made is not None
                store.add_profile(made)
            case "read":
                store.profile(wanted)
            case "import":
                store.add_profile(profile_file.read(snapshot))
            case "remove":
                store.remove(Item("profile", wanted))
            case _:
                assert found is not None
                written = export.encode(found, cast("export.Format", name))
                if name == "memory-viz":
                    snapshot.write_bytes(written)
        seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "held": held, "peak": megabytes()}))


@click.command()
@click.option("--allocations", default=1_000_000, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where the store is made.")
@click.option("--step", "only", help="Internal: run this step in this process.")
def main(allocations: int, folder: Path | None, only: str | None) -> None:
    """Write, read, export and remove a profile, and print a Markdown table."""
    if only and folder:
        step(only, folder / "store.db", allocations)
        return
    with tempfile.TemporaryDirectory(dir=folder) as place:
        print(f"A profile of {allocations:,} allocations ({2 * allocations:,} events)\n")
        print("| | seconds | peak memory, MiB | of it before, MiB | file, MB |")
        print("|---|---:|---:|---:|---:|")
        for name in STEPS:
            _row(name, Path(place), allocations)


def _row(name: str, place: Path, allocations: int) -> None:
    arguments = ["--step", name, "--folder", str(place), "--allocations", str(allocations)]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, check=True
    )
    took = json.loads(done.stdout)
    size = (place / "store.db").stat().st_size / 1e6
    print(
        f"| {name} | {took['seconds']:.1f} | {took['peak']:.0f} | {took['held']:.0f} | {size:.0f} |"
    )


if __name__ == "__main__":
    main()
