"""Launch: `fastsa run`, an unmodified script trained under a plan."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo import config as dynamo_config
from torch._dynamo.eval_frame import OptimizedModule

from fastsa.capture.capturable import has_lazy_parameters, is_untraceable, surroundings
from fastsa.capture.data_parallel import computed, in_one_piece, is_sharded
from fastsa.capture.faithful import backward_as_called
from fastsa.capture.in_place import compile_in_place, compiled_model, is_compiled, restore_module
from fastsa.capture.region import first_line, next_frame, region_run_count
from fastsa.capture.second_order import second_order
from fastsa.instrumentation.interruption import interruptible_tracing
from fastsa.instrumentation.module_hooks import BackwardCalls, Call, RootCalls
from fastsa.instrumentation.script import StopScript, run_script
from fastsa.profiler.assembly import model_name, signature
from fastsa.runtime.job import Job
from fastsa.runtime.out_of_memory import Shortage, shortage

RECOMPILE_LIMIT = 64
DIFFERENTIATED = "gradients of gradients are taken (create_graph=True)"
LEFT_OUT = "the script compiles its model itself: while it trains, the plan's order runs instead"


class Launch:
    """Runs a script and gives the root modules it trains to a job."""

    def __init__(
        self,
        job: Job,
        script: str,
        arguments: Sequence[str],
        *,
        module: bool,
        for_good: bool = False,
    ) -> None:
        self.job = job
        self.script = script
        self.arguments = tuple(arguments)
        self.module = module
        self.for_good = for_good
        self.trained = False
        self.sharded = False
        self.shortage: Shortage | None = None
        self._uncaptured: set[nn.Module] = set()
        self._planned_models: set[nn.Module] = set()  # of which regions have run
        self._roots: dict[nn.Module, int] = {}  # with the epoch they were compiled in
        self._modules_before: frozenset[str] = frozenset()
        self._tried: set[nn.Module] = set()  # of which a step runs as it is, to be watched

    def run(self) -> None:
        """Run the script to its end.

        What the script raises passes through. Raises InfeasibleBudget before the first training
        step if the budget cannot be met. `shortage` is there if the script ran out of memory.
        """
        complete = False
        self._modules_before = frozenset(sys.modules)
        try:
            with (
                RootCalls(self._root_called),
                BackwardCalls(self._backward_called, around=backward_as_called),
                _unnoticed(),
                interruptible_tracing(),
            ):
                run_script(self.script, self.arguments, module=self.module, for_good=self.for_good)
            complete = True
        except SystemExit as ending:
            complete = ending.code in (None, 0)
            self._tell_refusal()
            self._see_shortage(ending)
            raise
        except (Exception, StopScript) as ending:
            self._tell_refusal()
            self._see_shortage(ending)
            raise
        finally:
            self.job.close(store_run=complete and self.job.refusal is None)
        self._tell_refusal()

    def _see_shortage(self, ending: BaseException) -> None:
        self.shortage = shortage(self.job, self._roots, ending)

    def _tell_refusal(self) -> None:
        # However the script took it, a bare `except` included.
        if self.job.refusal is not None:
            raise self.job.refusal from None

    def _root_called(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call
    ) -> Any:
        self.trained = True
        if self.job.refusal is not None:
            raise StopScript  # again: the script has caught the first one
        model = compiled_model(module)
        if model is None:
            return self._called_in_one_piece(module, args, kwargs, call)

        if computed(model) not in self._uncaptured:
            self.job.warn(LEFT_OUT)

        def call_model() -> Any:
            return call() if computed(model) in self._uncaptured else model(*args, **kwargs)

        return self._called_in_one_piece(model, args, kwargs, call_model)

    def _called_in_one_piece(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call
    ) -> Any:
        with in_one_piece(module):
            return self._called(computed(module), args, kwargs, call)

    def _called(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call
    ) -> Any:
        if module not in self._uncaptured:
            self._leave_if_seen(module, args, kwargs)
        if module in self._roots:
            return self._called_again(module, call)
        if module not in self._uncaptured and self._runs_plainly_once(module):
            return call()
        self._roots[module] = self.job.recompile_epoch
        if module in self._uncaptured:
            return call()
        if isinstance(module, OptimizedModule):  # with hooks, or in a DistributedDataParallel
            self._uncaptured.add(module)
            self.job.warn("the script compiles its model itself: it trains unplanned")
            return call()
        if is_compiled(module):
            self.job.warn(LEFT_OUT)
        self.sharded = self.sharded or is_sharded(module)
        self.job.describe(model_name(self._roots), signature(args, kwargs))
        return self._first_call(module, call)

    def _leave_if_seen(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Let a model run as it is for what can be seen of this call."""
        if is_untraceable((args, kwargs)):
            self._leave(module, "it is called with a subclass of torch.Tensor")
        elif (around := surroundings()) is not None:
            self._leave(module, around)

    def _runs_plainly_once(self, module: nn.Module) -> bool:
        """Whether a call must run as it is before the model can be compiled."""
        if has_lazy_parameters(module):
            return True
        twice = second_order(module, self._modules_before)
        if twice is None:
            return False
        if twice.is_certain:
            self._leave(module, f"{DIFFERENTIATED} at {twice.source}")
        elif module not in self._tried:
            self._tried.add(module)
            return True
        return False

    def _backward_called(self, tensors: tuple[Tensor, ...], creates_graph: bool) -> None:
        if not creates_graph or torch._C._functorch.peek_interpreter_stack() is not None:
            return  # torch.func's own gradients are not of what is planned
        for module in self._tried - self._uncaptured:
            self._leave(module, DIFFERENTIATED)
        if self._planned_models - self._uncaptured:
            self.job.warn(
                f"{DIFFERENTIATED} through a model that trains under a plan, which torch refuses: "
                "train it without fastsa"
            )

    def _called_again(self, module: nn.Module, call: Call) -> Any:
        self.job.called_again(module)
        if self._roots[module] == self.job.recompile_epoch:
            return self._watched(module, call)
        self._roots[module] = self.job.recompile_epoch
        return call() if module in self._uncaptured else self._first_call(module, call)

    def _watched(self, module: nn.Module, call: Call) -> Any:
        """A call of a compiled model, which may have been left aside without a word."""
        earlier = region_run_count()
        result = call()
        if region_run_count() != earlier:
            self._planned_models.add(module)
        elif module in self._planned_models and module not in self._uncaptured:
            self.job.warn(
                "the model runs unplanned in some steps, whatever the budget: torch may have "
                "compiled it too often (TORCH_LOGS=recompiles says why)"
            )
        return result

    def _first_call(self, module: nn.Module, call: Call) -> Any:
        compilation, notices = self.job.compilation, self.job.notices
        compiled, warned = compilation.count, len(notices)
        compilation.begin(next_frame())
        result = compile_in_place(module, self._backend(), call, partial(self._failed, module))
        if (compilation.count, len(notices)) == (compiled, warned):
            self.job.warn("nothing of the model could be captured: it trains unplanned")
        return result

    def _backend(self) -> Callable[..., Any]:
        # One of its own for each epoch: the tracer keeps what it compiled by backend.
        return lambda gm, inputs: self.job.compile(gm, inputs)

    def _failed(self, module: nn.Module, error: BaseException, call: Callable[[], Any]) -> Any:
        if self.job.refusal is not None:
            restore_module(module)
            raise StopScript from error
        if not self.job.training:  # the others wait for what this one brings
            self.job.ranks.leave(f"the model cannot be captured: {first_line(error)}")
        result = call()  # what it raises is the script's own, and then nothing else has failed
        self._leave(module, first_line(error))
        return result

    def _leave(self, module: nn.Module, why: str) -> None:
        """Let a model run as it is from now on."""
        restore_module(module)
        self._uncaptured.add(module)
        self.job.ranks.leave(f"the model cannot be captured: {why}")
        self.job.warn(f"the model cannot be captured and trains unplanned: {why}")


def _unnoticed() -> AbstractContextManager[None]:
    """The tracer's settings for a script that does not know of it.

    By default torch takes it that nobody registers a hook once a model is compiled, and leaves a
    function aside that it has compiled eight times.
    """
    limit = max(RECOMPILE_LIMIT, dynamo_config.recompile_limit)
    patch: AbstractContextManager[None] = dynamo_config.patch(
        skip_nnmodule_hook_guards=False, recompile_limit=limit
    )
    return patch
