"""What is said of an error of the tracer."""

from __future__ import annotations

from torch._dynamo.exc import BackendCompilerFailed

from fastsa.capture.region import first_line


def test_the_first_line() -> None:
    assert first_line(ValueError("\n shapes differ\nand pages of advice")) == "shapes differ"
    assert first_line(KeyError()) == "KeyError"


def test_of_a_backend_the_reason_inside() -> None:
    inner = BackendCompilerFailed(print, ValueError("shapes differ\nadvice"), None)
    outer = BackendCompilerFailed(lambda: None, inner, None)
    assert first_line(inner) == "ValueError: shapes differ"
    assert first_line(outer).endswith("ValueError: shapes differ")
    assert "<lambda>" not in first_line(outer)
