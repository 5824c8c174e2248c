"""What a profile of a million allocations costs the store: seconds and memory, step by step.

Every row is a process of its own, so that its peak of resident memory is its own.

    python benchmarks/store.py [--allocations 1000000] [--folder /tmp]
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from fastsa.cache.store import Store
from fastsa.profiler.profile import Profile
from fastsa.profiler.timeline import CATEGORIES, PHASES, Allocation, Site, Timeline

SITES = 5_000  # places that a large model allocates from
LIFETIME = 2_000  # events, at most


def timeline(allocations: int) -> Timeline:
    """Random lives that add up: two events for each allocation."""
    draw = random.Random(1)
    ends: dict[int, list[int]] = {}
    blocks: list[Allocation] = []
    event = alive = peak = peak_event = 0
    sizes, births = [0] * allocations, [0] * allocations
    born = 0
    while born < allocations or ends:
        for index in ends.pop(event, ()):
            alive -= sizes[index]
            blocks.append(_block(sizes[index], births[index], event, draw))
        if born < allocations:
            sizes[born], births[born] = 512 * draw.randint(1, 1 << 14), event
            ends.setdefault(event + draw.randint(1, LIFETIME), []).append(born)
            alive += sizes[born]
            born += 1
        if alive > peak:
            peak, peak_event = alive, event
        event += 1
    return Timeline(event, 0, peak, peak_event, event * 1e-6, _sites(), tuple(blocks))


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
    with Store.open(path) as store:
        (wanted,) = [row.id for row in store.list_items("profile")] or [""]
        held, started = megabytes(), time.perf_counter()
        if name == "write" and made is not None:
            store.add_profile(made)
        elif name == "remove":
            store.remove(store.resolve(wanted))
        else:
            found = store.profile(wanted)
            if name != "read":
                _export(found, name)
        seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "held": held, "peak": megabytes()}))


def _export(found: Profile, name: str) -> None:
    from fastsa.report.export import encode

    encode(found, name)


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
        for name in ("write", "read", "memory-viz", "chrome-trace", "csv", "remove"):
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
