"""Trains as plain.py does, while something that fastsa needs is broken: `faulty.py WHAT`."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from tiny import STEPS, Net, adam, batch, step, tell


def broken(*arguments: Any, **more: Any) -> Any:
    raise RuntimeError("broken on purpose")


def break_(module: str, name: str) -> None:
    """Replace a function of a module, if that is there: without fastsa it is not."""
    found: Any = sys.modules.get(module)
    if found is not None:
        *parts, last = name.split(".")
        for part in parts:
            found = getattr(found, part)
        setattr(found, last, broken)


BROKEN = {
    "planner": ("fastsa.runtime.selector", "solve"),
    "solver": ("fastsa.planner.search", "_core.solve"),
    "validator": ("fastsa.runtime.selector", "validate"),
    "timing": ("fastsa.runtime.plan_request", "measure"),
    "partition": ("fastsa.runtime.partition", "_check_order"),
    "recorder": ("fastsa.runtime.step_measurement", "recorder"),
    "dynamo": ("torch._dynamo.symbolic_convert", "InstructionTranslator.run"),
    "aot": ("torch._functorch.aot_autograd", "prepare_aot_module_simplified"),
}


def main() -> None:
    what = sys.argv[1]
    if what in BROKEN and "fastsa.runtime.job" in sys.modules:
        break_(*BROKEN[what])
    net = Net()
    optimizer = adam(net)
    for number in range(STEPS):
        tell(number, step(net, optimizer, batch()))
        if what == "store" and number == 4:
            shutil.rmtree(Path(os.environ["FASTSA_STORE"]).parent, ignore_errors=True)
        if what == "garbage" and number == 4 and Path(os.environ["FASTSA_STORE"]).exists():
            Path(os.environ["FASTSA_STORE"]).write_bytes(b"garbage")


main()
