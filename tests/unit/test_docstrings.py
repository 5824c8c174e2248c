"""The public API says what each parameter, result and exception is, in Google's sections."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

import fastsa
from fastsa import errors
from fastsa.errors import BadInput, FastsaError

PUBLIC = (
    "fastsa.BadInput",
    "fastsa.CaptureFailed",
    "fastsa.FastsaError",
    "fastsa.FastsaWarning",
    "fastsa.IllegalPlan",
    "fastsa.InfeasibleBudget",
    "fastsa.Status",
    "fastsa.StoreUnusable",
    "fastsa.profile",
    "fastsa.profile_step",
    "fastsa.status",
    "fastsa.cache.store.Store",
    "fastsa.integrations.metrics.metrics",
    "fastsa.planner.curve.Curve",
    "fastsa.planner.curve.curve",
    "fastsa.planner.curve.decode",
    "fastsa.planner.curve.read",
    "fastsa.planner.curve.solve_curve",
    "fastsa.planner.graph.Graph",
    "fastsa.planner.graph.check",
    "fastsa.planner.graph.decode",
    "fastsa.planner.graph.read",
    "fastsa.planner.options.SearchOptions",
    "fastsa.planner.plan.Plan",
    "fastsa.planner.plan.decode",
    "fastsa.planner.plan.read",
    "fastsa.planner.solve.plan",
    "fastsa.planner.solve.solve",
    "fastsa.planner.validation.validate",
    "fastsa.planner.validation.validate_order",
    "fastsa.profiling.Profiled",
    "fastsa.profiling.Session",
    "fastsa.runtime.dynamo_backend.backend",
)
OF_FRAMEWORKS = {
    "lightning": "fastsa.integrations.lightning.FastsaCallback",
    "transformers": "fastsa.integrations.transformers.FastsaCallback",
}
CONTEXT = ("__enter__", "__exit__")  # a sentence is enough


def public(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def sections(docstring: str) -> dict[str, list[str]]:
    """By section, what it names; a section of plain text names nothing."""
    found = re.findall(r"^([A-Z][a-z]+):\n((?: {4}.*\n?|\n)+)", docstring, re.M)
    return {title: re.findall(r"^ {4}(\S+):", text, re.M) for title, text in found}


def parameters(of: Callable[..., Any]) -> list[str]:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [
        stars.get(each.kind, "") + each.name
        for each in inspect.signature(of).parameters.values()
        if each.name not in ("self", "cls")
    ]


def raised(function: Callable[..., Any]) -> set[str]:
    """The classes of `fastsa.errors` that a function raises itself, or raises a kind of."""
    names = inspect.unwrap(function).__globals__
    found = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if not isinstance(node, ast.Raise):
            continue
        raises = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        kind = names.get(raises.id) if isinstance(raises, ast.Name) else None
        if isinstance(kind, type) and issubclass(kind, FastsaError):
            found.add(next(c.__name__ for c in kind.__mro__ if c.__module__ == errors.__name__))
    return found


def flaws_of_function(name: str, function: Callable[..., Any], *, short: bool) -> Iterator[str]:
    """What its docstring lacks; a `short` one has to say nothing of parameters and result."""
    docstring = inspect.cleandoc(function.__doc__ or "")
    said = sections(docstring)
    if not docstring:
        yield f"{name}: no docstring"
    for kind in sorted(raised(function) - set(said.get("Raises", ()))):
        yield f"{name}: {kind} is not under Raises"
    if short:
        return
    if said.get("Args", []) != parameters(function):
        yield f"{name}: Args has {said.get('Args', [])}, not {parameters(function)}"
    result = inspect.signature(function).return_annotation
    title = "Yields" if inspect.isgeneratorfunction(function) else "Returns"
    if result not in (None, "None") and not docstring.startswith("Return ") and title not in said:
        yield f"{name}: no {title}"


def flaws_of_class(name: str, kind: type) -> Iterator[str]:
    docstring = inspect.cleandoc(vars(kind).get("__doc__") or "")
    if not docstring:
        yield f"{name}: no docstring"
    if "__init__" in vars(kind) or issubclass(kind, msgspec.Struct):
        said = sections(docstring)
        named = [*said.get("Args", ()), *said.get("Attributes", ())]
        for parameter in parameters(kind):
            if parameter not in named:
                yield f"{name}: {parameter} is not under Args or Attributes"
    for base in kind.__mro__:
        if not base.__module__.startswith("fastsa."):
            continue  # the frameworks' methods are theirs to describe
        for member, value in vars(base).items():
            place = f"{name}.{member}"
            if member.startswith("_") and member not in CONTEXT:
                continue
            if isinstance(value, property) and value.fget is not None:
                yield from flaws_of_function(place, value.fget, short=True)
            elif isinstance(value, classmethod | staticmethod):
                yield from flaws_of_function(place, value.__func__, short=False)
            elif inspect.isfunction(value):
                yield from flaws_of_function(place, value, short=member in CONTEXT)


def flaws(name: str, documented: Any) -> list[str]:
    if isinstance(documented, type):
        return list(flaws_of_class(name, documented))
    return list(flaws_of_function(name, documented, short=False))


def test_all_that_is_exported_is_here() -> None:
    exported = {f"fastsa.{name}" for name in fastsa.__all__} - {"fastsa.__version__"}
    assert exported <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_each_section_is_there(name: str) -> None:
    assert flaws(name, public(name)) == []


@pytest.mark.parametrize("framework", OF_FRAMEWORKS)
def test_each_section_of_a_callback_is_there(framework: str) -> None:
    pytest.importorskip(framework)
    name = OF_FRAMEWORKS[framework]
    assert flaws(name, public(name)) == []


class Undocumented:
    """Says nothing of its parameter."""

    def __init__(self, size: int) -> None:
        self.size = size


def undocumented(size: int, *rest: int) -> int:
    """Say nothing of all that.

    Args:
        rest: Not its name.
    """
    if rest:
        raise BadInput("too many", hint="give one")
    return size


def test_a_missing_section_would_be_seen() -> None:
    assert flaws("f", undocumented) == [
        "f: BadInput is not under Raises",
        "f: Args has ['rest'], not ['size', '*rest']",
        "f: no Returns",
    ]
    assert flaws("C", Undocumented) == ["C: size is not under Args or Attributes"]
