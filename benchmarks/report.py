"""How long the page of a profile takes to make and to open, with a million allocations.

Run from the checkout: `python benchmarks/report.py`. Opening needs Chromium on the PATH, and
Playwright's Python package; without them only making is measured.
"""

from __future__ import annotations

import importlib.util
import random
import resource
import shutil
import tempfile
import time
from pathlib import Path

import click

from fastsa.records.profile import Profile, Saved
from fastsa.records.timeline import CATEGORIES, PHASES, Allocation, Site, Timeline
from fastsa.report.html import document
from fastsa.report.html.subject import PageSubject

SITES = 5000
LONGEST = 200  # allocations that a block outlives
TICK = 1e-6


@click.command()
@click.option("--allocations", default=1_000_000, show_default=True)
def main(allocations: int) -> None:
    """Make and open a page, and say how long it took."""
    profile = make(allocations)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        started = time.perf_counter()
        document.write(PageSubject("0" * 64, profile), path)
        click.echo(f"made in {time.perf_counter() - started:.1f} s")
        click.echo(f"{path.stat().st_size / 1e6:.2f} MB")
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        click.echo(f"{most / 1024:.0f} MiB of host memory at most, the profile included")
        opened = open_page(path)
        click.echo("not opened" if opened is None else f"opened and drawn in {opened:.1f} s")


def make(count: int) -> Profile:
    """A profile with `count` allocations of all kinds, from everywhere."""
    draw = random.Random(0)
    sites = tuple(
        Site(
            CATEGORIES[i % len(CATEGORIES)],
            PHASES[i * len(PHASES) // SITES],
            f"aten::op_{i % 90}",
            f"model.layers.{i % 96}.part_{i % 13}",
            f"model.py:{i}",
        )
        for i in range(SITES)
    )
    blocks = []
    for i in range(count):
        birth, death = 2 * i, min(2 * (i + draw.randrange(1, LONGEST)) + 1, 2 * count)
        size, site = draw.randrange(1, 1 << 24), min(i * SITES // count, SITES - 1)
        blocks.append(Allocation(size, birth, death, birth * TICK, death * TICK, site))
    whole = Timeline(2 * count, 0, 0, count, 2 * count * TICK, sites, tuple(blocks))
    saved = tuple(
        Saved(f"Node{i % 30}", "x", 4, (1,), "f", False, None, f"model.layers.{i % 960}")
        for i in range(count // 10)
    )
    return Profile(
        schema="fastsa.profile/2",
        created="2026-01-02T03:04:05+00:00",
        script="train.py",
        arguments=(),
        model="Large",
        parameters=0,
        shape="",
        device="cpu",
        versions={},
        resident_bytes=0,
        peak_bytes=0,
        step_seconds=None,
        timeline=whole,
        saved=saved,
        regions=(),
    )


def open_page(path: Path) -> float | None:
    """Seconds until everything is drawn; None without a browser."""
    browser = shutil.which("chromium")
    if browser is None or importlib.util.find_spec("playwright") is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        opened = playwright.chromium.launch(executable_path=browser, args=arguments)
        page = opened.new_page()
        started = time.perf_counter()
        page.goto(path.as_uri())
        while page.evaluate("document.documentElement.dataset.ready") != "true":
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        opened.close()
        return seconds


if __name__ == "__main__":
    main()
