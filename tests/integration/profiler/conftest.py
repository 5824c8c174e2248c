"""The recorder walks over all objects at each step: fewer of them are a third of the time."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch._dynamo
import torch._functorch.aot_autograd
import torch.profiler  # noqa: F401


@pytest.fixture(scope="module", autouse=True)
def only_objects_of_this_module() -> Iterator[None]:
    """Hide what torch and earlier modules made from the walks, as in the fork server."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
