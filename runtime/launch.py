"""Launch: `fastsa run`, an unmodified script trained under a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from fastsa.profiler.hooks import Call, RootCalls
from fastsa.profiler.recorder import signature
from fastsa.profiler.script import StopScript, run_script
from fastsa.runtime.job import Job


class Launch:
    """Runs a script and gives the root modules it trains to a job."""

    def __init__(self, job: Job, script: str, arguments: Sequence[str], *, module: bool) -> None:
        self.job = job
        self.script = script
        self.arguments = tuple(arguments)
        self.module = module
        self.trained = False
        self._roots: dict[nn.Module, None] = {}
        job.script = " ".join((script, *arguments))

    def run(self) -> None:
        """Run the script to its end.

        What the script raises passes through. Raises InfeasibleBudget before the first training
        step if the budget cannot be met.
        """
        complete = False
        try:
            with RootCalls(self._root_called):
                run_script(self.script, self.arguments, module=self.module)
            complete = True
        except StopScript:
            if self.job.refusal is not None:
                raise self.job.refusal from None
            raise
        except SystemExit as ending:
            complete = ending.code in (None, 0)
            raise
        finally:
            self.job.close(store_run=complete)

    def _root_called(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call
    ) -> Any:
        self.trained = True
        if module in self._roots:
            return call()
        self._roots[module] = None
        if module._compiled_call_impl is not None:
            self.job.warn("the script compiles its model itself: it trains unplanned")
            return call()
        self.job.model = ", ".join(
            dict.fromkeys(f"{type(m).__module__}.{type(m).__qualname__}" for m in self._roots)
        )
        self.job.shape = signature(args, kwargs)
        return self._first_call(module, call)

    def _first_call(self, module: nn.Module, call: Call) -> Any:
        compiled = self.job.compiled
        state = _random_state()
        module.compile(backend=self.job.compile)
        try:
            result = call()
        except TorchDynamoException as error:
            if self.job.refusal is not None:
                raise StopScript from error
            module._compiled_call_impl = None
            self.job.warn(
                f"the model cannot be captured and trains unplanned: {_first_line(error)}"
            )
            _restore_random_state(state)
            return call()
        if self.job.compiled == compiled:
            self.job.warn("nothing of the model could be captured: it trains unplanned")
        return result


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _random_state() -> tuple[torch.Tensor, list[torch.Tensor]]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), cuda


def _restore_random_state(state: tuple[torch.Tensor, list[torch.Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
