"""Properties of random inputs: few examples for every change, many each night."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

# No example may fail by the clock: drawing is slow on a busy machine.
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
MANY = 20  # times as many each night


def property_test(
    examples: int, **strategies: SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a test of a function: its parameters are drawn, and what is left are fixtures.

    Args:
        examples: How many are drawn in the unit tier; MANY times as many in the nightly one.
        strategies: By parameter, what it is drawn from.
    """

    def decorate(holds: Callable[..., None]) -> Callable[..., None]:
        def test(*instance: object, **fixtures: Any) -> None:
            drawn = settings(RELAXED, max_examples=fixtures.pop("examples"))
            drawn(given(**strategies)(holds))(*instance, **fixtures)

        parameters = dict(inspect.signature(holds).parameters)
        for name in strategies:
            del parameters[name]
        kinds = [each.replace(kind=each.KEYWORD_ONLY) for each in parameters.values()]
        kinds.append(inspect.Parameter("examples", inspect.Parameter.KEYWORD_ONLY))
        test.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(test, name, getattr(holds, name))
        nightly = pytest.param(MANY * examples, marks=pytest.mark.nightly)
        return pytest.mark.parametrize("examples", [examples, nightly])(test)

    return decorate
