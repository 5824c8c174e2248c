"""The zoo's models of transformers: apart, so that one worker alone imports them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from support.zoo.hugging_face import HUGGING_FACE
from support.zoo.specimen import check


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.promise("same-bits")
@pytest.mark.parametrize("name", HUGGING_FACE)
def test_any_plan_has_the_bits_of_eager(name: str) -> None:
    check(HUGGING_FACE[name])
