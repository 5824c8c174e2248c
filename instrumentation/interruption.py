"""Interruption: what a script's signal handler raises while its model is being traced or planned.

The tracer, and we, take any Exception for a failure of ours: the script would train on without
having been told that it is to end.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from torch._dynamo.callback import CallbackArgs, CallbackTrigger, callback_handler

_Handler = Callable[[int, FrameType | None], Any]


class Interruption(BaseException):
    """Carries an exception of the script's through code that would handle it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class _Wrapped:
    def __init__(self, handler: _Handler) -> None:
        self.handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self.handler(number, frame)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the script's
            raise Interruption(error) from None


def _wrap() -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # handlers run in the main one, and only it may set them
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler) and not isinstance(handler, _Wrapped):
            signal.signal(number, _Wrapped(handler))


def _unwrap() -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if isinstance(handler, _Wrapped):
            signal.signal(number, handler.handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """For work of ours inside the script: what its handlers raise comes out of the block."""
    _wrap()
    try:
        yield
    except Interruption as interruption:
        raise interruption.error from None
    finally:
        _unwrap()


@contextmanager
def interruptible_tracing() -> Iterator[None]:
    """Within it, handlers raise Interruption while torch traces."""

    def begins(what: CallbackArgs) -> None:
        if what.callback_trigger is CallbackTrigger.DYNAMO:
            _wrap()

    def ends(what: CallbackArgs) -> None:
        _unwrap()

    callback_handler.register_start_callback(begins)
    callback_handler.register_end_callback(ends)
    try:
        yield
    finally:
        with suppress(ValueError):  # the script may have called `torch._dynamo.reset()`
            callback_handler.remove_start_callback(begins)
            callback_handler.remove_end_callback(ends)
