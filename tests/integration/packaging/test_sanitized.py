"""`make asan` must test the sanitized module and not another one that happens to be installed."""

import os

import pytest


@pytest.mark.skipif("FASTSA_EXPECT_SANITIZED" not in os.environ, reason="for make asan")
def test_the_native_core_is_sanitized() -> None:
    from fastsa.planner import _core

    assert _core.sanitized
