"""Models of many kinds, each captured once, have the bits of eager under any plan."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from support.zoo.images import IMAGES
from support.zoo.language import LANGUAGE
from support.zoo.odd import ODD
from support.zoo.specimen import check

ZOO = LANGUAGE | IMAGES | ODD


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.promise("same-bits")
@pytest.mark.parametrize("name", ZOO)
def test_any_plan_has_the_bits_of_eager(name: str) -> None:
    check(ZOO[name])


def test_a_plan_that_forgets_to_replay_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is sharp: without replay of dropout the bits are others."""
    monkeypatch.setattr("fastsa.runtime.partition.is_random", lambda node: False)
    with pytest.raises(AssertionError, match="steps: everything again"):
        check(ODD["intermediates written"])
