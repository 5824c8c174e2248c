"""When a planned job has ended, Python and torch are as they were: nothing patched is left."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.variables.misc import AutogradFunctionVariable
from torch._dynamo.variables.torch import TorchInGraphFunctionVariable
from torch.optim import optimizer as optim

from fastsa.errors import InfeasibleBudget
from fastsa.instrumentation.module_hooks import RootCalls
from fastsa.planner.budget import parse
from fastsa.runtime.equivalence.trace import Assignment, Mode
from fastsa.runtime.equivalence.worker import ObservedLaunch
from fastsa.runtime.job import Host, Job
from fastsa.runtime.launch import Launch
from fastsa.runtime.settings import Settings
from support.paths import SCRIPTS

WATCHED: dict[str, Callable[[], Any]] = {
    "Module.__call__": lambda: nn.Module.__call__,
    "Module.__setattr__": lambda: nn.Module.__setattr__,
    "Module._call_impl": lambda: nn.Module._call_impl,
    "global module hooks": lambda: [
        dict(hooks)
        for name, hooks in vars(nn.modules.module).items()
        if name.startswith("_global_") and hasattr(hooks, "items")
    ],
    "Tensor.backward": lambda: torch.Tensor.backward,
    "autograd": lambda: (torch.autograd.backward, torch.autograd.grad),
    "saved tensor hooks": lambda: torch._C._autograd._saved_tensors_hooks_is_enabled(),
    "optimizer hooks": lambda: (
        dict(optim._global_optimizer_pre_hooks),
        dict(optim._global_optimizer_post_hooks),
        optim.Optimizer.step,
        torch.optim.Adam.step,
    ),
    "dynamo config": lambda: torch._dynamo.config.get_config_copy(),
    "functorch config": lambda: torch._functorch.config.get_config_copy(),
    "inductor config": lambda: torch._inductor.config.get_config_copy(),
    "dynamo's handlers": lambda: (
        dict(TorchInGraphFunctionVariable._get_handlers()),
        AutogradFunctionVariable.call_apply,
    ),
    "kernels of tracing": lambda: dict(torch.ops.aten.upsample_bicubic2d.vec.py_kernels),
    "dynamo's tracer": lambda: torch._dynamo.symbolic_convert.InstructionTranslator.run,
    "profiler": lambda: torch._C._autograd._profiler_enabled(),
    "modes": lambda: (
        torch._C._len_torch_function_stack(),
        torch._C._len_torch_dispatch_stack(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.are_deterministic_algorithms_enabled(),
    ),
    "imports": lambda: (list(sys.meta_path), list(sys.path_hooks), __builtins__["__import__"]),
    "sys": lambda: (
        list(sys.argv),
        list(sys.path),
        sys.modules["__main__"],
        sys.excepthook,
        sys.unraisablehook,
        sys.displayhook,
        sys.stdout,
        sys.getprofile(),
        sys.gettrace(),
        threading.excepthook,
    ),
    "process": lambda: (Path.cwd(), gc.isenabled(), list(gc.callbacks)),
    "environment": lambda: {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
    "signals": lambda: [signal.getsignal(each) for each in signal.valid_signals()],
    "warnings": lambda: (warnings.showwarning, warnings.warn),
    "threads": lambda: {thread.name for thread in threading.enumerate()},
}


def watched() -> dict[str, Any]:
    return {name: look() for name, look in WATCHED.items()}


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The script imports a module beside it, which leaves a check for the end of the process."""
    monkeypatch.setattr("atexit.register", lambda function, *arguments: function)
    monkeypatch.syspath_prepend(str(SCRIPTS))
    torch._dynamo.reset()
    warm_up()
    before = watched()
    yield
    after = watched()
    assert [name for name in before if after[name] != before[name]] == []
    torch._dynamo.reset()


def warm_up() -> None:
    """What torch imports and starts by itself when it compiles something."""
    model = nn.Linear(2, 2)
    torch.compile(model, backend="aot_eager")(torch.ones(2, 2)).sum().backward()
    torch.optim.Adam(model.parameters()).step()


def settings(folder: Path, budget: str = "80%") -> Settings:
    return Settings(budget=parse(budget), time_limit=0.2, store=folder / "s.db")


def launch(folder: Path, *arguments: str, budget: str = "80%") -> Launch:
    script = str(SCRIPTS / "plain.py")
    return Launch(
        Job(settings(folder, budget), Host(command=(script, *arguments), can_replan=True)),
        script,
        arguments,
        module=False,
    )


@pytest.mark.promise("fault-37")
def test_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        launch(tmp_path, "--steps", "5").run()


def test_run_of_a_script_that_raises(tmp_path: Path) -> None:
    """In the step that is recorded."""
    with pytest.raises(ValueError, match="mine"):
        launch(tmp_path, "--raise-at", "2").run()


def test_run_within_a_budget_that_cannot_be_met(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleBudget):
        launch(tmp_path, budget="20%").run()


@pytest.mark.parametrize("mode", ["eager", "compiled", "planned"])
def test_check(tmp_path: Path, mode: Mode) -> None:
    task = Assignment(
        mode=mode,
        script=str(SCRIPTS / "plain.py"),
        arguments=(),
        module=False,
        steps=2,
        ops=True,
        cupy_on_torch=False,
        budget="80%",
        time_limit=0.2,
        threads=1,
        seed=0,
        best_effort=False,
        store=str(tmp_path / "s.db"),
    )
    trace = ObservedLaunch(task).observe()
    assert len(trace.steps) == 2
    assert bool(trace.ops) == (mode != "eager")


@pytest.mark.promise("fault-37")
def test_backend(tmp_path: Path) -> None:
    options = {"budget": "100%", "time_limit": 0.2, "store": tmp_path / "s.db"}
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU())
    compiled = torch.compile(model, backend="fastsa", options=options)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(5):
        compiled(torch.randn(512, 64)).sum().backward()
        optimizer.step()
    # Not before: the package's `backend` would be this module, not the entry point.
    from fastsa.runtime.dynamo_backend import _jobs

    mine = [job for job in _jobs.values() if job.settings.store == options["store"]]
    assert mine
    for job in mine:  # as at the end of the process
        job.close()


def test_a_patch_would_be_seen() -> None:
    """The comparison is sharp."""
    before = watched()
    with RootCalls(lambda module, args, kwargs, call: call()):
        inside = watched()
    changed = [name for name in before if inside[name] != before[name]]
    assert changed == ["Module.__call__"]
