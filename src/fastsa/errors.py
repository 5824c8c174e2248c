"""The one tree of errors fastsa raises on purpose, each with the way out and its exit code."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress


class FastsaError(Exception):
    """Base of the errors that fastsa raises on purpose: a user can act on each.

    Args:
        message: What happened and why; an attribute too.
        hint: What to do about it; an attribute too.

    Attributes:
        exit_code: Exit code of a command that ends with this error.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}"


class BadInput(FastsaError):
    """A file or an argument that cannot be used (exit 2)."""

    exit_code = 2


class IllegalPlan(FastsaError):
    """A plan that the validator refuses or that is not of the model; see `hint` for what to do."""


class InfeasibleBudget(FastsaError):
    """A budget that no plan meets, or that none was found for in the time given (exit 3)."""

    exit_code = 3


class StoreUnusable(FastsaError):
    """The store cannot be opened, read or written (exit 4)."""

    exit_code = 4


class CaptureFailed(FastsaError):
    """A model that cannot be captured as a graph, so it cannot be planned."""


class FastsaWarning(UserWarning):
    """Something of fastsa did not work; training goes on."""


def warn(text: str) -> None:
    """Issue a FastsaWarning. A filter that makes errors of warnings must not stop a job of ours."""
    try:
        # Where in fastsa it was noticed, with that line of its code, helps nobody. Python puts
        # `fastsa:1: FastsaWarning: ` before the text.
        warnings.warn_explicit(text, FastsaWarning, "fastsa", 1)
    except FastsaWarning as error:
        if sys.stderr is not None:
            with suppress(OSError, ValueError):  # full or closed
                sys.stderr.write(f"FastsaWarning: {error}\n")


def reason(error: Exception) -> str:
    """An error in a few words."""
    if isinstance(error, FastsaError):
        return error.message
    return f"{type(error).__name__}: {error}"
