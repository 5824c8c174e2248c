"""The training people really do, unmodified, at half its memory and at the lowest peak found."""

from __future__ import annotations

import pytest

from support.fork_server import ForkServer
from support.real_scripts import ITEMS, Trained, check_peak, check_same
from support.sandbox import CliSandbox


@pytest.fixture
def sandbox(framework_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> CliSandbox:
    return CliSandbox(tmp_path_factory.mktemp("sandbox"), framework_server)


@pytest.mark.parametrize("name", ITEMS)
def test_real_script(name: str, sandbox: CliSandbox) -> None:
    trained = Trained(ITEMS[name], sandbox)
    trained.check_half()
    lowest = trained.under("30%", "--best-effort")
    check_same(lowest, trained.reference)
    if trained.item.is_planned and trained.item.keeps_budget:
        check_peak(trained.run(), trained.item.lowest_share)


BACKEND = ("hf_gpt2", "hf_trainer", "lightning_trainer", "convnet", "accumulation")


@pytest.mark.parametrize("name", BACKEND)
def test_through_the_backend(name: str, sandbox: CliSandbox) -> None:
    """The second start knows the whole step from the first."""
    trained = Trained(ITEMS[name], sandbox)
    wanted = trained.plain()
    for _ in range(2):
        check_same(trained.plain("60%"), wanted)
    check_peak(trained.run(), ITEMS[name].lowest_share)


@pytest.mark.parametrize("how", ["wrapped", "in-place", "blocks"])
def test_inductor(how: str, sandbox: CliSandbox) -> None:
    """In fp32 the plan has the bits of eager, whatever the script's own compiler has."""
    wanted = sandbox.plain("real/compiles.py", "not", "at-all")
    done = sandbox.fastsa("run", "--budget", "60%", "real/compiles.py", how, "inductor")
    check_same(done, wanted)
