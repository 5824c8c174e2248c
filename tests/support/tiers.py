"""Tiers: which test runs when, what a unit test may not do, and how long each test takes."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.paths import TESTS

TIERS = ("unit", "integration", "nightly")
SECONDS = TESTS / "seconds.json"
"""Seconds of each test that took long, on some machine: for shares, not for absolute times. Of many
nightly tests they are estimates."""

LONG_SCOPE = 15.0  # seconds
LONG = 0.5  # seconds; of the nightly tests all are kept
MOST_SAMPLED = 160.0  # seconds of workers that a sample may take, whatever a tenth is
UNKNOWN_SECONDS = 10.0  # of a nightly test that SECONDS does not know yet
PROCESSES = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec"})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the tiers."""
    parser.addoption(
        "--nightly-sample",
        metavar="SEED",
        help="run a tenth of the nightly tests, drawn by this seed",
    )
    parser.addoption(
        "--record-seconds",
        metavar="FILE",
        help="merge the seconds of each test into a JSON file",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Hooks that only the process at the top needs."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Seconds(config), "seconds")


def tier_of(item: pytest.Item) -> str:
    """The tier of a test: its folder's, or nightly if it is marked so."""
    if item.get_closest_marker("nightly"):
        return "nightly"
    folder = item.path.relative_to(TESTS).parts[0]
    assert folder in TIERS, f"{item.path}: a test belongs into the folder of a tier"
    return folder


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before -m deselects, after the order was drawn
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """Mark each test with its tier; draw the sample; begin with what takes long."""
    for item in items:
        item.add_marker(getattr(pytest.mark, tier_of(item)))
    seed = config.getoption("--nightly-sample")
    if seed is not None:
        nightly = [item for item in items if tier_of(item) == "nightly"]
        drawn = sample(sorted(item.nodeid for item in nightly), seed, read_seconds())
        items[:] = [item for item in nightly if item.nodeid in drawn]
    yield
    items[:] = longest_first(items, read_seconds())


def longest_first(items: list[pytest.Item], seconds: dict[str, float]) -> list[pytest.Item]:
    """The scopes that take LONG_SCOPE before the others, so that no worker ends long after all.

    A scope is what pytest-xdist runs in one worker: a class, or the functions of a file.
    """
    scopes: dict[str, float] = {}
    for item in items:
        scope = _scope(item)
        scopes[scope] = scopes.get(scope, 0.0) + seconds.get(item.nodeid, 0.0)
    long = {scope: spent for scope, spent in scopes.items() if spent >= LONG_SCOPE}
    return sorted(items, key=lambda item: -long.get(_scope(item), 0.0))


def _scope(item: pytest.Item) -> str:
    return item.nodeid.rpartition("::")[0]


def sample(names: list[str], seed: str, seconds: dict[str, float], share: float = 0.1) -> set[str]:
    """Tests drawn at random that take about `share` of all their seconds, at most MOST_SAMPLED.

    Args:
        names: Of all tests, in an order that does not change.
        seed: The same seed draws the same tests.
        seconds: Of each test.
        share: Of the seconds of all.
    """
    whole = sum(seconds.get(name, UNKNOWN_SECONDS) for name in names)
    left = min(share * whole, MOST_SAMPLED)
    drawn = set()
    for name in random.Random(seed).sample(names, len(names)):
        cost = seconds.get(name, UNKNOWN_SECONDS)
        if cost <= left:
            drawn.add(name)
            left -= cost
    return drawn


def read_seconds() -> dict[str, float]:
    """What SECONDS says of each test."""
    found: dict[str, float] = json.loads(SECONDS.read_text("utf-8")) if SECONDS.exists() else {}
    return found


class _Seconds:
    """Adds up what each test takes, with its fixtures."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.seconds: dict[str, float] = {}
        self.tiers: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.partition("@")[0]
        self.seconds[name] = self.seconds.get(name, 0.0) + report.duration
        tiers = (tier for tier in reversed(TIERS) if tier in report.keywords)
        self.tiers[name] = next(tiers, "crashed")  # with its worker: nothing more is known

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for tier in TIERS:
            names = [name for name, found in self.tiers.items() if found == tier]
            if names:
                spent = sum(self.seconds[name] for name in names)
                terminalreporter.write_line(f"{tier}: {len(names)} tests, {spent:.0f} s of workers")
        seed = self.config.getoption("--nightly-sample")
        if seed is not None:
            terminalreporter.section(f"the tenth of the nightly tests of seed {seed}")
            terminalreporter.write_line("\n".join(sorted(self.seconds)))

    def pytest_sessionfinish(self) -> None:
        path = self.config.getoption("--record-seconds")
        if path:
            file = Path(path)
            known = json.loads(file.read_text("utf-8")) if file.exists() else {}
            known = {name: spent for name, spent in known.items() if name not in self.seconds}
            known |= {
                name: round(spent, 1)
                for name, spent in self.seconds.items()
                if spent >= LONG or self.tiers[name] == "nightly"
            }
            text = json.dumps(known, indent=0, sort_keys=True, ensure_ascii=False)
            file.write_text(text + "\n", "utf-8")


class _Processes:
    """Counts the processes that are started in this one; audit hooks cannot be taken back."""

    count = 0

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        self.count += event in PROCESSES


processes = _Processes()
sys.addaudithook(processes)


def _compiled() -> int:
    """How many frames torch has compiled so far."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return sum(dynamo.counters["frames"].values()) if dynamo else 0


@pytest.fixture(autouse=True)
def unit_tests_are_quick(request: pytest.FixtureRequest) -> Iterator[None]:
    """A unit test starts no process and compiles nothing with torch."""
    before = processes.count, _compiled()
    yield
    if tier_of(request.node) == "unit":
        assert (processes.count, _compiled()) == before, "this is no unit test: see docs/testing.md"
