"""The training people really do, unmodified, at half its memory and at the lowest peak found."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fastsa.runtime.run import Run
from support.real_scripts import ITEMS, LIBRARIES, CliSandbox, Done, ForkServer, Trained


@pytest.fixture(scope="module")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    made = ForkServer(tmp_path_factory.mktemp("fork_server"), *LIBRARIES)
    yield made
    made.close()


@pytest.fixture
def sandbox(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> CliSandbox:
    return CliSandbox(tmp_path_factory.mktemp("sandbox"), fork_server)


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
def test_real_script(name: str, sandbox: CliSandbox) -> None:
    item = ITEMS[name]
    trained = Trained(item, sandbox)
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
def test_through_the_backend(name: str, sandbox: CliSandbox) -> None:
    """The second start knows the whole step from the first."""
    wanted = sandbox.plain(*ITEMS[name].command)
    for _ in range(2):
        check_same(sandbox.plain(*ITEMS[name].command, "60%"), wanted)
    check_peak(Trained(ITEMS[name], sandbox).run(), ITEMS[name].lowest_share)


@pytest.mark.parametrize("how", ["wrapped", "in-place", "blocks"])
def test_inductor(how: str, sandbox: CliSandbox) -> None:
    """In fp32 the plan has the bits of eager, whatever the script's own compiler has."""
    wanted = sandbox.plain("real/compiles.py", "not", "at-all")
    done = sandbox.fastsa("run", "--budget", "60%", "real/compiles.py", how, "inductor")
    check_same(done, wanted)
