"""From errors to one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NoReturn

import click

from fastsa.cli import script_traceback
from fastsa.cli.stderr import discard_stderr, write_stderr
from fastsa.errors import FastsaError

DEBUG = "FASTSA_DEBUG"
INTERRUPTED = 130

UserScript = Callable[[], None]


def run_command(command: click.Command, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a click command (on `sys.argv` by default) and exit with its code.

    A command that runs a user's script returns it as a function without parameters. The function
    is called when nothing of the command line is left around it: the script's exceptions, exit
    code and Ctrl-C are its own; only a FastsaError becomes one line here. Frames of fastsa are
    left out of what is shown of an exception.
    """
    script = _parse_and_run(command, arguments)
    try:
        script()
    except FastsaError as error:
        sys.exit(_told(error))
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        script_traceback.show(error)
        sys.exit(1)
    finally:
        discard_stderr()
    sys.exit(0)


def _parse_and_run(command: click.Command, arguments: Sequence[str] | None) -> UserScript:
    usual, sys.excepthook = sys.excepthook, _tell_bug
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _tell_warning
            result = command.main(arguments, standalone_mode=False)
        if sys.stdout is not None:  # closed from the start
            sys.stdout.flush()
    except FastsaError as error:
        sys.exit(_told(error))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("fastsa: interrupted")
        sys.exit(INTERRUPTED)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            _say(f"fastsa: {error}. Check the disk and where the output goes")
        _forget_stdout()
        sys.exit(1)
    if not callable(result):
        sys.exit(result if isinstance(result, int) else 0)
    sys.excepthook = usual
    script: UserScript = result
    return script


def _told(error: FastsaError) -> int:
    _say(f"fastsa: {error.message}. {error.hint[:1].upper()}{error.hint[1:]}")
    return error.exit_code


def _say(line: str) -> None:
    write_stderr(line)


def _forget_stdout() -> None:
    # What is left in the buffer cannot be written; the interpreter's last flush must not try.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell_warning(message: Warning | str, *where: object, **more: object) -> None:
    _say(f"fastsa: {message}")


def _tell_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if os.environ.get(DEBUG):
        traceback.print_exception(kind, error, trace)
    line = "".join(traceback.format_exception_only(kind, error)).strip()
    _say(f"fastsa: this is a bug in fastsa: {line}. Set {DEBUG}=1 to see where, and report it")
