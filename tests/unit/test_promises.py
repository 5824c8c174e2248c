"""docs/testing.md says of every promise which test holds it, and what the docs promise is there."""

from __future__ import annotations

import pytest

from support.paths import ROOT
from support.promises import OF_RUNTIME, RUNTIME, holders, promises

HELD = holders()
# Said in the row itself: a graph of a million ops takes minutes.
UNTESTED = {"fault-17"}


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", OF_RUNTIME)
def test_the_page_says_so(name: str) -> None:
    assert flat(OF_RUNTIME[name]) in flat(RUNTIME.read_text("utf-8"))


@pytest.mark.parametrize("name", [promise.id for promise in promises()])
def test_every_promise_has_a_test_that_runs_each_time(name: str) -> None:
    fast = [holder for holder in HELD.get(name, []) if not holder.nightly]
    assert bool(fast) != (name in UNTESTED)


def test_no_test_holds_what_nobody_promised() -> None:
    assert set(HELD) <= {promise.id for promise in promises()}


def test_thirty_faults_are_told_of() -> None:
    numbers = [
        int(promise.id.removeprefix("fault-"))
        for promise in promises()
        if promise.id.startswith("fault-")
    ]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 30


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    from make_testing import document

    written = (ROOT / "docs" / "testing.md").read_text("utf-8")
    assert written == document(), "run python docs/make_testing.py"
