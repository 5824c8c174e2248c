"""Second order: whether a program takes gradients of gradients, told before it does so.

A compiled backward cannot be differentiated again (torch raises in the second backward, when it is
too late to train otherwise), so a program's source is asked before its model is compiled.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

import msgspec
from torch import nn

from fastsa.instrumentation.program import Program, is_installed

_WORD = "create_graph"


class SecondOrder(msgspec.Struct, frozen=True):
    """Where a program may take gradients of gradients; `is_certain` if it says so outright."""

    source: str  # file:line
    is_certain: bool


def second_order(module: nn.Module, before: Collection[str]) -> SecondOrder | None:
    """What the program's own files, and those of the model's classes, say of `create_graph`.

    Modules that were there `before` the program began are not its own.
    """
    found = [each for file in _files(module, before) for each in _mentions(file)]
    certain = [each for each in found if each.is_certain]
    return next(iter(certain or found), None)


def _files(module: nn.Module, before: Collection[str]) -> Iterator[str]:
    program = Program()
    names = ["__main__", *(name for name in tuple(sys.modules) if name not in before)]
    loaded = [getattr(sys.modules.get(name), "__file__", None) for name in names]
    own = [file for file in loaded if file and not is_installed(file)]
    classes = [sys.modules.get(type(each).__module__) for each in nn.Module.modules(module)]
    models = [getattr(each, "__file__", None) for each in classes]
    for file in dict.fromkeys(filter(None, (*own, *models))):
        if program.user_line(file, 1) is not None:
            yield file


@cache
def _mentions(file: str) -> tuple[SecondOrder, ...]:
    try:
        text = Path(file).read_text("utf-8")
        tree = ast.parse(text) if _WORD in text else None
    except (OSError, ValueError, SyntaxError):
        return ()
    keywords = [] if tree is None else [n for n in ast.walk(tree) if isinstance(n, ast.keyword)]
    return tuple(
        SecondOrder(f"{file}:{each.value.lineno}", isinstance(each.value, ast.Constant))
        for each in keywords
        if each.arg == _WORD and not _is_false(each.value)
    )


def _is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and not value.value
