"""What a command says on stderr beside a person's script, whose run it must not change."""

from __future__ import annotations

import os
import sys

import click

_failed = False


def write_stderr(line: str) -> None:
    """Say a line on stderr; without a word if stderr is full or closed."""
    global _failed
    try:
        click.echo(line, err=True)
    except (OSError, ValueError):
        _failed = True


def discard_stderr() -> None:
    """To be called at the end: the interpreter's last flush would make what failed an exit code."""
    if _failed and sys.stderr is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
