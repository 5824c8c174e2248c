"""Scripts that run out of memory under `fastsa run`: their own error, and ours beside it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable

import pytest

from fastsa.cache.store import Store
from fastsa.records.profile import Profile
from support.fork_server import Done
from support.sandbox import CliSandbox, steps

SCRIPT = "runs_out.py"
QUICK = ("--budget", "80%", "--time-limit", "0.2")


def own_frames(done: Done) -> list[str]:
    """The lines of a traceback that are about the script's own files, and the error itself."""
    lines = done.stderr.splitlines()
    frames = [line for line in lines if re.match(r'  File ".*/tests/scripts/', line)]
    return [*frames, *(line for line in lines if re.match(r"\w*Error: ", line))]


def stored(sandbox: CliSandbox) -> dict[str, Profile]:
    with Store.open(sandbox.place) as store:
        return {row.id: store.profile(row.id) for row in store.list_items("profile")}


class Ended:
    """A script that ends early, and how it ends in plain python."""

    def __init__(self, sandbox: CliSandbox, *arguments: str) -> None:
        self.sandbox = sandbox
        before = stored(sandbox).keys()
        self.plain = sandbox.plain(SCRIPT, *arguments)
        self.done = sandbox.fastsa("run", *QUICK, SCRIPT, *arguments)
        self.profiles = [p for key, p in stored(sandbox).items() if key not in before]

    def same(self) -> None:
        assert self.done.returncode == self.plain.returncode
        assert steps(self.done) == steps(self.plain)
        assert self.done.stdout == self.plain.stdout
        assert "left behind: nothing" in self.done.stdout
        assert own_frames(self.done) == own_frames(self.plain)
        if self.plain.stderr:  # the script's own words come last
            assert self.done.stderr.splitlines()[-1] == self.plain.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def sandbox(sandboxes: Callable[[], CliSandbox]) -> CliSandbox:
    """One for all: the plan is made once."""
    return sandboxes()


@pytest.mark.parametrize(
    "where",
    [
        "loss",
        pytest.param("model", marks=pytest.mark.nightly),
        pytest.param("backward", marks=pytest.mark.nightly),
    ],
)
def test_the_scripts_own_error_and_what_was_alive(sandbox: CliSandbox, where: str) -> None:
    ended = Ended(sandbox, where)
    ended.same()
    assert ended.plain.returncode == 1
    text = ended.done.stderr
    assert "fastsa: out of memory on cpu" in text
    assert "asked for 1024.00 TiB" in text
    assert text.index("fastsa: out of memory") < text.index("Traceback")
    (profile,) = ended.profiles
    assert profile.ended
    assert profile.ended.startswith("RuntimeError: [enforce fail")
    assert profile.step_seconds is None
    assert profile.missing
    # A petabyte is no part of the model, so no plan would have made room for it.
    assert profile.minimum_budget_bytes is None
    assert "fastsa run --budget" not in text
    sizes = {site.category: 0 for site in profile.timeline.sites}
    for block in profile.timeline.allocations:
        sizes[profile.timeline.site(block).category] += block.bytes
    parameters = 4 * (3 * (128 * 128 + 128) + 129)
    assert sizes["parameter"] == parameters
    assert sizes["optimizer"] == 2 * parameters + 4 * 8  # Adam: two moments and a step number
    if where != "backward":  # there some have been released
        assert sizes["activation"] > 4 * 1024 * 128 * 3
    modules = {site.module for site in profile.timeline.sites if site.category == "parameter"}
    assert modules == {"first", "second", "third", "head"}
    assert re.search(r"runs_out\.py:\d+\n", text)


@pytest.fixture(scope="module")
def limited(sandboxes: Callable[[], CliSandbox]) -> Ended:
    return Ended(sandboxes(), "limit", "60")


def fits(ended: Ended) -> float:
    """The budget that would have fitted, in MiB."""
    (found,) = re.findall(
        r"would fit a budget of ([\d.]+) MiB or more, predicted", ended.done.stderr
    )
    return float(found)


@pytest.mark.promise("fails-memory", "fault-22")
class TestLimitedMemory:
    """The failing allocation is one of the model's: then there is a budget that fits."""

    def test_told(self, limited: Ended) -> None:
        assert limited.done.returncode == limited.plain.returncode == 1
        assert steps(limited.done) == steps(limited.plain)
        text = limited.done.stderr
        assert "asked for 32.00 MiB" in text
        # Two of the model's activations and the batch at least, and less than the whole.
        assert 3 * 32 < fits(limited) < 300
        command = re.search(r"next +fastsa run --budget ([\d.]+)MiB (.*)\n", text)
        assert command
        assert float(command[1]) >= fits(limited)
        assert command[2].endswith("runs_out.py limit 60")

    def test_stored(self, limited: Ended) -> None:
        (profile,) = limited.profiles
        assert profile.minimum_budget_bytes
        assert abs(profile.minimum_budget_bytes / 2**20 - fits(limited)) < 0.01
        (identity,) = re.findall(r"fastsa show (\w+)", limited.done.stderr)
        assert limited.sandbox.fastsa("show", identity).returncode == 0

    @pytest.mark.nightly
    def test_what_it_says_fits_does(self, limited: Ended) -> None:
        budget = ("--budget", f"{fits(limited)}MiB", *QUICK[2:])
        done = limited.sandbox.fastsa("run", *budget, SCRIPT, "limit", "100000")
        assert done.returncode == 0, done.stderr
        assert "OVER" not in done.stderr

    @pytest.mark.nightly
    def test_the_budget_was_at_the_minimum(self, limited: Ended) -> None:
        budget = ("--best-effort", "--budget", f"{fits(limited) - 60}MiB", *QUICK[2:])
        done = limited.sandbox.fastsa("run", *budget, SCRIPT, "limit", "60")
        assert done.returncode == 1
        assert "a plan cannot do with less, a smaller batch can" in done.stderr
        assert "next      fastsa show" in done.stderr


class TestCaught:
    """What the script does about it is its own affair."""

    def test_goes_on(self, sandbox: CliSandbox) -> None:
        ended = Ended(sandbox, "retries")
        assert ended.done.returncode == 0
        ended.same()
        assert "out of memory" not in ended.done.stderr
        assert ended.profiles == []

    @pytest.mark.nightly
    def test_exits(self, sandbox: CliSandbox) -> None:
        ended = Ended(sandbox, "exits")
        ended.same()
        assert ended.done.returncode == 5
        assert "fastsa: out of memory on cpu" in ended.done.stderr
        assert len(ended.profiles) == 1

    def test_raises_something_else(self, sandbox: CliSandbox) -> None:
        ended = Ended(sandbox, "wraps")
        ended.same()
        assert ended.done.stderr.endswith("ValueError: training failed\n")
        assert "asked for 1024.00 TiB" in ended.done.stderr
        (profile,) = ended.profiles
        assert profile.ended
        assert profile.ended.startswith("RuntimeError: ")


@pytest.mark.nightly
def test_another_error(sandbox: CliSandbox) -> None:
    ended = Ended(sandbox, "other")
    ended.same()
    assert "out of memory" not in ended.done.stderr
    assert ended.profiles == []


def test_switched_off(sandbox: CliSandbox) -> None:
    done = sandbox.fastsa("run", *QUICK, SCRIPT, "loss", FASTSA_DISABLE="1")
    assert done.returncode == 1
    assert "fastsa: out of memory" not in done.stderr


@pytest.mark.nightly
def test_store_that_cannot_be_written(sandboxes: Callable[[], CliSandbox]) -> None:
    """One warning, and the text all the same."""
    sandbox = sandboxes()
    with Store.open(sandbox.place):
        pass
    with sqlite3.connect(sandbox.place) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON profiles BEGIN SELECT RAISE(FAIL, 'full'); END"
        )
    connection.close()
    ended = Ended(sandbox, "loss")
    ended.same()
    assert "snapshot, not stored, of tiny.Net" in ended.done.stderr
    warnings = [line for line in ended.done.stderr.splitlines() if "FastsaWarning" in line]
    (line,) = warnings
    assert "the snapshot is not stored" in line


def test_its_plans_are_found_as_before(sandbox: CliSandbox) -> None:
    """A broken-off profile is no measured step that a later job could rely on."""
    assert Ended(sandbox, "loss").profiles
    done = sandbox.fastsa("run", *QUICK, SCRIPT, "retries")
    assert "plan found" in done.stderr
    assert "resident (estimated)" in done.stderr
