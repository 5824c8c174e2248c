"""Real scripts as whole processes, at half their memory; their models are in the zoo.

One with transformers' Trainer is in integrations/test_callbacks.py. All of the scripts, and at the
lowest peak found, are in the nightly tier.
"""

from __future__ import annotations

import pytest

from support.fork_server import ForkServer
from support.real_scripts import ITEMS, Trained
from support.sandbox import CliSandbox

WHOLE = ("lightning_trainer", "gan", "accumulation", "compiles blocks aot_eager")


@pytest.mark.parametrize("name", WHOLE)
def test_at_half_its_memory(
    name: str, framework_server: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sandbox = CliSandbox(tmp_path_factory.mktemp("sandbox"), framework_server)
    Trained(ITEMS[name], sandbox).check_half()
