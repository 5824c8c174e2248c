"""Budgets as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsa.errors import BadInput
from fastsa.planner.budget import format_bytes, parse


@pytest.mark.promise("budget-bytes")
@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("40GiB", 40 * 2**30),
        ("512MiB", 512 * 2**20),
        ("16GB", 16 * 10**9),
        ("16gb", 16 * 10**9),
        ("1.5 GiB", 3 * 2**29),
        ("1_000_000", 1_000_000),
        ("1000000", 1_000_000),
        ("7B", 7),
        (" 1TiB ", 2**40),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse(text).kind == "bytes"
    assert parse(text).resolve(123) == size


@pytest.mark.promise("budget-share")
@pytest.mark.parametrize(
    ("text", "size"), [("50%", 500), ("12.5%", 125), ("100%", 1000), ("0.05%", 0), ("110 %", 1100)]
)
def test_shares(text: str, size: int) -> None:
    assert parse(text).kind == "percent"
    assert parse(text).resolve(1000) == size


def test_auto_is_the_whole() -> None:
    assert parse("auto").kind == "auto"
    assert parse(" AUTO ").resolve(77) == 77


@pytest.mark.promise("fault-18")
@pytest.mark.parametrize(
    "text",
    [
        "", " ", "GiB", "-1", "-1GiB", "0", "0%", "0.4", "-5%", "1001%", "nan", "nan%", "inf",
        "1e9", "1__0", "_1", "1_", "5XB", "5 parsecs", "9223372036854775808", "9999999TiB", "50%%",
        "0x10", "1.2.3", "٣GiB", "1,5GiB", "5" * 5000,
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text)
    assert "40GiB" in caught.value.hint


@given(st.text(max_size=20))
def test_any_text_is_a_budget_or_bad_input(text: str) -> None:
    try:
        budget = parse(text)
    except BadInput:
        return
    assert 0 <= budget.resolve(10**12) < 2**63


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.50 KiB"),
        (2**30, "1.00 GiB"),
        (3 * 2**40, "3.00 TiB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_bytes(size) == text
