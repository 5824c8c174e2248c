"""Module hooks: sees the root modules of an unmodified script train; leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
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
    a call runs, so neither inner modules nor a tracer ever see it. A patch that the program lays
    over ours stays where it is, and so does ours below it, without effect after the end.
    """

    def __init__(self, on_call: OnCall) -> None:
        self._on_call = on_call
        self._original = nn.Module.__call__
        self._ours = self._patch()
        self._inside = 0

    def __enter__(self) -> Self:
        nn.Module.__call__ = self._ours  # type: ignore[method-assign]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if nn.Module.__call__ is self._ours:
            nn.Module.__call__ = self._original  # type: ignore[method-assign]
        self._on_call = _forget

    def _patch(self) -> Callable[..., Any]:
        original, seen = self._original, self._seen

        def __call__(module: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            if self._inside or not _trains(module):
                return original(module, *args, **kwargs)
            return seen(module, args, kwargs)

        return __call__

    def _seen(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        is_lifted = nn.Module.__call__ is self._ours
        if is_lifted:
            nn.Module.__call__ = self._original  # type: ignore[method-assign]
        self._inside += 1
        try:
            return self._on_call(
                module, args, kwargs, lambda: self._original(module, *args, **kwargs)
            )
        finally:
            self._inside -= 1
            if is_lifted and self._on_call is not _forget and _is(self._original):
                nn.Module.__call__ = self._ours  # type: ignore[method-assign]


def _is(call: Callable[..., Any]) -> bool:
    return nn.Module.__call__ is call


def _forget(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call
) -> Any:  # after the end: a call still running must not put the patch back
    return call()


def _trains(module: nn.Module) -> bool:
    with torch._C.DisableTorchFunction():  # a mode of the program's own is not to see it
        return _would_train(module)


def _would_train(module: nn.Module) -> bool:
    return (
        module.training
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and torch._C._current_graph_task_id() == -1  # not made again in a backward (checkpoint)
        and any(parameter.requires_grad for parameter in parameters(module))
    )


def parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """All parameters of a module, also of one that means something else by `parameters`."""
    return nn.Module.parameters(module)


OnBackward = Callable[[tuple[torch.Tensor, ...], bool], None]
"""Gets the tensors, and whether gradients of the gradients are wanted."""


class BackwardCalls:
    """While entered, `on_backward` sees every `torch.autograd.backward` and `torch.autograd.grad`.

    `on_end` is called when a `backward` has run, and each runs inside `around`. What the program
    lays over ours stays.
    """

    def __init__(
        self,
        on_backward: OnBackward,
        on_end: Callable[[], None] = lambda: None,
        *,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._on_backward = on_backward
        self._on_end = on_end
        self._around = around
        self._originals = (torch.autograd.backward, torch.autograd.grad)
        self._ours = (self._backward(), self._grad())

    def __enter__(self) -> Self:
        torch.autograd.backward, torch.autograd.grad = self._ours
        return self

    def _backward(self) -> Callable[..., Any]:
        original = self._originals[0]

        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            roots = (tensors,) if isinstance(tensors, torch.Tensor) else tuple(tensors)
            self._on_backward(roots, bool(kwargs.get("create_graph") or args[2:3] == (True,)))
            with self._around():
                result = original(roots, *args, **kwargs)
            self._on_end()
            return result

        return backward

    def _grad(self) -> Callable[..., Any]:
        original = self._originals[1]

        def grad(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            if kwargs.get("create_graph") or args[3:4] == (True,):
                self._on_backward((), True)
            with self._around():
                return original(outputs, *args, **kwargs)

        return grad

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if torch.autograd.backward is self._ours[0]:
            torch.autograd.backward = self._originals[0]
        if torch.autograd.grad is self._ours[1]:
            torch.autograd.grad = self._originals[1]
        self._on_backward = lambda tensors, creates_graph: None
        self._on_end = lambda: None
        self._around = nullcontext
