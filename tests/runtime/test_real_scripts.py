"""The training people really do, unmodified, at half its memory and at the lowest peak found."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from real_scripts import ITEMS, LIBRARIES, Desk, Done, Trained, Warm

from fastsa.runtime.run import Run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    made = Warm(tmp_path_factory.mktemp("warm"), *LIBRARIES)
    yield made
    made.close()


@pytest.fixture
def desk(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"), warm)


def check_same(done: Done, wanted: Done) -> None:
    assert wanted.returncode == done.returncode == 0, done.stderr
    assert "state " in wanted.stdout
    assert done.stdout == wanted.stdout


def check_peak(run: Run | None, lowest_share: float) -> Run:
    """It was planned and measured, and is what was predicted."""
    assert run is not None
    assert run.measured_peak_bytes is not None
    share = run.measured_peak_bytes / run.predicted_peak_bytes
    assert lowest_share <= share <= 1.01
    return run


def check_half(trained: Trained, done: Done) -> None:
    item, run = trained.item, trained.run()
    if not item.is_planned:
        assert run is None
        assert "so nothing was planned" in done.stderr
    elif not item.keeps_budget:
        assert re.search("OVER +the measured peak is .* above the budget", done.stderr)
    else:
        run = check_peak(run, item.lowest_share)
        assert (run.measured_peak_bytes or 0) <= run.budget_bytes
        assert "trains unplanned" not in done.stderr


@pytest.mark.parametrize("name", ITEMS)
def test_real_script(name: str, desk: Desk) -> None:
    item = ITEMS[name]
    trained = Trained(item, desk)
    wanted = trained.reference
    half = trained.under(item.half)
    check_same(half, wanted)
    check_half(trained, half)
    lowest = trained.under("30%", "--best-effort")
    check_same(lowest, wanted)
    if item.is_planned and item.keeps_budget:
        check_peak(trained.run(), item.lowest_share)


BACKEND = ("hf_gpt2", "hf_trainer", "lightning_trainer", "convnet", "accumulation")


@pytest.mark.parametrize("name", BACKEND)
def test_through_the_backend(name: str, desk: Desk) -> None:
    """The second start knows the whole step from the first."""
    wanted = desk.plain(*ITEMS[name].command)
    for _ in range(2):
        check_same(desk.plain(*ITEMS[name].command, "60%"), wanted)
    check_peak(Trained(ITEMS[name], desk).run(), ITEMS[name].lowest_share)


@pytest.mark.parametrize("how", ["wrapped", "in-place", "blocks"])
def test_inductor(how: str, desk: Desk) -> None:
    """In fp32 the plan has the bits of eager, whatever the script's own compiler has."""
    wanted = desk.plain("real/compiles.py", "not", "at-all")
    done = desk.fastsa("run", "--budget", "60%", "real/compiles.py", how, "inductor")
    check_same(done, wanted)
