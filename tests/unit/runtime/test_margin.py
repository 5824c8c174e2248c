"""The rule of margins (docs/runtime.md): grows to what was missing, and goes when it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsa.records.margin import grown, tolerance

MIB = 1 << 20
PREDICTED = 100 * MIB
MOST = 50 * MIB
SIZES = st.integers(0, 1 << 40)


def after(margin: int, *excesses: int) -> int:
    """The margin after peaks of so many MiB above the prediction."""
    for excess in excesses:
        margin = grown(margin, PREDICTED, PREDICTED + excess * MIB, MOST)
    return margin // MIB


def test_the_tolerance_is_a_hundredth_and_a_mebibyte() -> None:
    assert tolerance(PREDICTED) == 2 * MIB
    assert (after(0, 2), after(0, 3)) == (0, 3)


def test_grows_to_what_was_missing() -> None:
    assert after(0, 5) == 5
    assert after(0, 5, 9) == 9
    assert after(0, 9, 9, 9) == 9


@pytest.mark.promise("margin")
def test_halves_down_to_what_is_needed() -> None:
    assert after(0, 16, 5) == 8
    assert after(0, 16, 5, 5) == 5
    assert after(0, 16, 12) == 12


def test_goes_when_nothing_is_needed() -> None:
    assert after(0, 16, 0) == 8
    assert after(0, 16, 0, 0, 0) == 0
    assert after(0, 16, -20, -20, -20) == 0


def test_leaves_half_of_the_step_s_budget() -> None:
    assert after(0, 5000) == 50
    assert grown(0, PREDICTED, 2 * PREDICTED, 0) == 0


@given(SIZES, SIZES, SIZES, SIZES)
def test_never_without_bound(margin: int, predicted: int, measured: int, most: int) -> None:
    following = grown(margin, predicted, measured, most)
    assert 0 <= following <= most
    assert following <= max(margin // 2, measured - predicted, 0)


@given(SIZES, SIZES)
def test_it_ends(margin: int, predicted: int) -> None:
    for _ in range(45):
        margin = grown(margin, predicted, predicted, 1 << 40)
    assert margin == 0
