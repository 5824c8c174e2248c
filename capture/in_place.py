"""In place: a model of the script's is compiled, and the script does not notice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import nn
from torch._dynamo import trace_rules
from torch._dynamo.eval_frame import OptimizedModule
from torch._dynamo.exc import TorchDynamoException
from torch._dynamo.external_utils import wrap_inline

from fastsa.capture.faithful import TracingTooLong, unnoticed
from fastsa.capture.region import region_run_count
from fastsa.instrumentation.interruption import Interruption

Failed = Callable[[BaseException, Callable[[], Any]], Any]
"""Told of an error of the tracer, and how to make the call without it; the result is the call's."""


def compile_in_place(
    module: nn.Module, backend: Callable[..., Any], call: Callable[[], Any], failed: Failed
) -> Any:
    """Compile a module and make its first call, by `call`.

    Whenever the tracer fails before anything of the module has run, `failed` makes the call.
    """
    own = _own.setdefault(module, module.__dict__.get(_IMPL))
    # Not by setattr: a module may be strict about what it is given.
    module.__dict__[_IMPL] = _InPlace(module, backend, own, failed)
    return call()


class _InPlace:
    """The call of a compiled module."""

    def __init__(
        self, module: nn.Module, backend: Callable[..., Any], own: Any, failed: Failed
    ) -> None:
        self._module = module
        # Code that the script itself compiles is told so in the plain script, too.
        is_told = own is not None or module in _compiled_by_script
        self._tracing: Callable[[Callable[[], bool]], AbstractContextManager[object]] = (
            nullcontext if is_told else unnoticed
        )
        self._backend = backend
        self._global_hooks = _global_hooks()
        self._compiled = torch.compile(traceable(module), backend=backend)
        self._plain = own if own is not None else module._call_impl
        self._failed = failed
        self._state: _RandomState | None = _random_state()  # for the first call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (torch.is_grad_enabled() and self._module.training):
            return self._plain(*args, **kwargs)  # nothing to plan: evaluation is never traced
        if _global_hooks() != self._global_hooks:
            self._compile_again()
        state, self._state = self._state, None
        earlier = region_run_count()
        try:
            with _quiet, self._tracing(lambda: region_run_count() != earlier):
                return self._compiled(*args, **kwargs)
        except Interruption as interruption:
            raise interruption.error from None
        except (TorchDynamoException, TracingTooLong) as error:
            if state is None and region_run_count() != earlier:
                raise  # a part has run, and may have changed something
            failure = error
        # Outside of the handler: what the script raises now has no failure of ours as its context.
        if state is not None:
            _restore_random_state(state)
        try:
            return self._failed(failure, lambda: self._plain(*args, **kwargs))
        finally:
            del failure  # its traceback has this frame, and the frame the batch

    def _compile_again(self) -> None:
        """For global hooks that came or went: the tracer notices them one call too late."""
        self._global_hooks = _global_hooks()
        # Another backend: the tracer keeps what it compiled by backend.
        self._compiled = torch.compile(
            traceable(self._module), backend=lambda gm, inputs: self._backend(gm, inputs)
        )


def _global_hooks() -> tuple[tuple[int, ...], ...]:
    """The ids of the hooks that run for every module."""
    return tuple(
        tuple(hooks)
        for hooks in (
            nn.modules.module._global_forward_hooks,
            nn.modules.module._global_forward_pre_hooks,
            nn.modules.module._global_backward_hooks,
            nn.modules.module._global_backward_pre_hooks,
        )
    )


class _Quiet(logging.Filter):
    """In it torch does not log what its tracer raises, which is told or never matters.

    Of a script's own wrong shape it would log twenty lines before the script's own error.
    """

    _logger = logging.getLogger("torch._subclasses.fake_tensor")

    def __enter__(self) -> None:
        self._logger.addFilter(self)

    def __exit__(self, *_: object) -> None:
        self._logger.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged."""
        return not str(record.msg).startswith("failed while attempting to run meta")


_quiet = _Quiet()


def restore_module(module: nn.Module) -> None:
    """Undo `compile_in_place`: what the script itself has compiled is back."""
    own = _own.pop(module, None)
    module.__dict__.pop(_IMPL, None)
    if own is not None:
        module.__dict__[_IMPL] = own


_IMPL = "_compiled_call_impl"
_own: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()  # what the script put there
_compiled_by_script: WeakSet[nn.Module] = WeakSet()  # by `torch.compile(model)`


def compiled_model(module: nn.Module) -> nn.Module | None:
    """The model in what `torch.compile(model)` returns; None if it is another module.

    One with hooks laid over the compiled model is left alone: they would not run. Its modules are
    remembered as compiled by the script, whose code is then told so.
    """
    if not isinstance(module, OptimizedModule):
        return None
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    backward_hooks = (module._backward_hooks, module._backward_pre_hooks)
    if any((*hooks, *backward_hooks)):
        return None
    model: nn.Module = module._orig_mod
    if model not in _compiled_by_script:
        _compiled_by_script.update(nn.Module.modules(model))  # one inside may be what is planned
    return model


def is_compiled(module: nn.Module) -> bool:
    """Whether somebody has compiled a module already."""
    return isinstance(module, OptimizedModule) or module._compiled_call_impl is not None


def compiles_a_part(module: nn.Module) -> bool:
    """Whether somebody has compiled a module or one inside it."""
    return any(map(is_compiled, module.modules()))


def traceable(module: nn.Module) -> Callable[..., Any]:
    """The call of a module as something the tracer does not pass over."""
    # The tracer passes over torch's own files: a forward of torch's own (nn.Sequential) needs a
    # frame around it. Other forwards are found by themselves, after the module's hooks.
    call: Callable[..., Any] = module._call_impl
    return wrap_inline(call) if trace_rules.check(module.forward) else call


_RandomState = tuple[torch.Tensor, list[torch.Tensor]]


def _random_state() -> _RandomState:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), cuda


def _restore_random_state(state: _RandomState) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
