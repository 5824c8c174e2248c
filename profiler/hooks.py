"""Hooks: sees the root modules of an unmodified script train, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

Call = Callable[[], Any]
OnCall = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Call], Any]
"""Gets the root module, its arguments, and the call itself, which it makes or replaces."""


class RootCalls:
    """While entered, every outermost training call of a module with parameters goes to `on_call`.

    A training call is one in training mode with gradients enabled. The patch is lifted while such
    a call runs, so neither inner modules nor a tracer ever see it.
    """

    def __init__(self, on_call: OnCall) -> None:
        self._on_call = on_call
        self._original = nn.Module.__call__

    def __enter__(self) -> Self:
        self._patch()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        nn.Module.__call__ = self._original  # type: ignore[method-assign]
        self._on_call = _forget

    def _patch(self) -> None:
        original, seen = self._original, self._seen

        def __call__(module: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            if not _trains(module):
                return original(module, *args, **kwargs)
            return seen(module, args, kwargs)

        nn.Module.__call__ = __call__  # type: ignore[method-assign]

    def _seen(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        patched = nn.Module.__call__
        nn.Module.__call__ = self._original  # type: ignore[method-assign]
        try:
            return self._on_call(
                module, args, kwargs, lambda: self._original(module, *args, **kwargs)
            )
        finally:
            if self._on_call is not _forget:
                nn.Module.__call__ = patched  # type: ignore[method-assign]


def _forget(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call
) -> Any:  # after the end: a call still running must not put the patch back
    return call()


def _trains(module: nn.Module) -> bool:
    return (
        module.training
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and torch._C._current_graph_task_id() == -1  # not made again in a backward (checkpoint)
        and any(parameter.requires_grad for parameter in module.parameters())
    )


class BackwardCalls:
    """While entered, `on_backward` sees the tensors of every `torch.autograd.backward`.

    `on_end` is called when one has run.
    """

    def __init__(
        self,
        on_backward: Callable[[tuple[torch.Tensor, ...]], None],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_backward = on_backward
        self._on_end = on_end
        self._original = torch.autograd.backward

    def __enter__(self) -> Self:
        original, seen, ended = self._original, self._on_backward, self._on_end

        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            roots = (tensors,) if isinstance(tensors, torch.Tensor) else tuple(tensors)
            seen(roots)
            result = original(tensors, *args, **kwargs)
            ended()
            return result

        torch.autograd.backward = backward
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        torch.autograd.backward = self._original
