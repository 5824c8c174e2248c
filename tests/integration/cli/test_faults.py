"""Whatever breaks, the script's output is as without fastsa, with one warning beside it.

Out of memory is in test_out_of_memory.py, what the script itself raises in test_run.py.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from support.fork_server import Done
from support.sandbox import CliSandbox, steps

QUICK = ("--time-limit", "0.2")
PLANNED, UNPLANNED = " step(s) with plan", "fastsa: trained unplanned"


def trained(sandbox: CliSandbox, *arguments: str, budget: str = "80%", **more: str) -> Done:
    done = sandbox.fastsa("run", "--budget", budget, *QUICK, *arguments, **more)
    assert done.returncode == 0, done.stderr
    return done


def as_without(sandbox: CliSandbox, done: Done, *arguments: str) -> bool:
    plain = sandbox.plain(*arguments)
    return bool(steps(plain)) and done.stdout == plain.stdout


def warnings_of(done: Done) -> list[str]:
    return [line for line in done.stderr.splitlines() if "FastsaWarning: " in line]


@pytest.mark.promise("fails-otherwise")
@pytest.mark.parametrize(
    ("what", "said", "ending"),
    [
        ("planner", "a region trains unplanned: RuntimeError: broken", UNPLANNED),
        pytest.param(
            "solver",
            "a region trains unplanned: RuntimeError: broken",
            UNPLANNED,
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            "timing",
            "a region trains unplanned: RuntimeError: broken",
            UNPLANNED,
            marks=pytest.mark.nightly,
        ),
        ("partition", "a region trains unplanned: RuntimeError: broken", UNPLANNED),
        ("dynamo", "the model cannot be captured and trains unplanned: ", UNPLANNED),
        pytest.param(
            "aot",
            "the model cannot be captured and trains unplanned: ",
            UNPLANNED,
            marks=pytest.mark.nightly,
        ),
        ("recorder", "the peak is not measured: RuntimeError: broken", PLANNED),
        ("garbage", "was damaged and is now", PLANNED),
    ],
)
def test_a_part_of_fastsa_breaks(sandbox: CliSandbox, what: str, said: str, ending: str) -> None:
    done = trained(sandbox, "faulty.py", what)
    assert as_without(sandbox, done, "faulty.py", what)
    (line,) = warnings_of(done)
    assert said in line
    assert ending in done.stderr


def test_the_validator_breaks(sandbox: CliSandbox) -> None:
    """It is asked only about stored plans."""
    trained(sandbox, "plain.py")
    done = trained(sandbox, "faulty.py", "validator")
    assert as_without(sandbox, done, "faulty.py", "validator")
    (line,) = warnings_of(done)
    assert "a region trains unplanned: RuntimeError: broken" in line


@pytest.mark.promise("fault-38", "fails-store")
def test_the_store_goes_in_mid_training(sandbox: CliSandbox) -> None:
    folder = sandbox.folder / "place"
    store = folder / "store.db"
    done = trained(sandbox, "faulty.py", "store", FASTSA_STORE=str(store))
    assert as_without(sandbox, done, "faulty.py", "nothing")
    assert PLANNED in done.stderr
    assert len(warnings_of(done)) <= 1


@pytest.mark.promise("fails-store", "fault-4")
@pytest.mark.parametrize(
    "place", ["/dev/null/store.db", pytest.param("/proc/store.db", marks=pytest.mark.nightly)]
)
def test_the_store_cannot_be(sandbox: CliSandbox, place: str) -> None:
    done = trained(sandbox, "plain.py", FASTSA_STORE=place)
    assert as_without(sandbox, done, "plain.py")
    (line,) = warnings_of(done)
    assert "the store is not used" in line
    assert PLANNED in done.stderr


def tamper(store: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a stored plan as somebody would who knows how: columns and checksum agree."""
    with closing(sqlite3.connect(store)) as connection, connection:
        ((payload,),) = connection.execute("SELECT payload FROM plans")
        plan = json.loads(zlib.decompress(payload))
        change(plan)
        data = json.dumps(plan).encode()
        connection.execute(
            "UPDATE plans SET payload = ?, sha256 = ?, status = ?, peak_bytes = ?, seconds = ?",
            [
                zlib.compress(data),
                sha256(data).hexdigest(),
                *(plan[name] for name in ("status", "peak_bytes", "seconds")),
            ],
        )


def reverse(plan: dict[str, Any]) -> None:
    plan["sequence"] = plan["sequence"][::-1]


def forget(plan: dict[str, Any]) -> None:
    plan["sequence"] = plan["sequence"][:-1]


def lie(plan: dict[str, Any]) -> None:
    plan["peak_bytes"] //= 2


def hurry(plan: dict[str, Any]) -> None:
    plan["seconds"] = plan["base_seconds"] / 2


def go_abroad(plan: dict[str, Any]) -> None:
    plan["sequence"][3] = 1 << 40


def repeat(plan: dict[str, Any]) -> None:
    """Run every op of the backward twice, those that must not be among them."""
    start = plan["segment_starts"][-1]
    plan["sequence"] += plan["sequence"][start:]


@pytest.fixture(scope="module")
def tampered(sandboxes: Callable[[], CliSandbox]) -> CliSandbox:
    """A sandbox on which each plan is tampered with in turn; every time a good one is made."""
    sandbox = sandboxes()
    trained(sandbox, "plain.py")
    return sandbox


@pytest.mark.promise("fails-plan", "fault-19")
@pytest.mark.parametrize(
    "change",
    [
        reverse,
        lie,
        repeat,
        *(pytest.param(each, marks=pytest.mark.nightly) for each in (forget, hurry, go_abroad)),
    ],
)
def test_a_plan_is_tampered_with(
    tampered: CliSandbox, change: Callable[[dict[str, Any]], None]
) -> None:
    """What the validator refuses is planned again; no word of it, since nothing is lost."""
    with closing(sqlite3.connect(tampered.place)) as connection, connection:
        connection.execute("DELETE FROM plans WHERE number < (SELECT max(number) FROM plans)")
    tamper(tampered.place, change)
    done = trained(tampered, "plain.py")
    assert as_without(tampered, done, "plain.py")
    assert "fastsa: plan made " in done.stderr
    assert PLANNED in done.stderr
    assert warnings_of(done) == []
