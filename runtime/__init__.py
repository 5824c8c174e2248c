"""Executes a plan: captures the model, finds or makes its plan, runs exactly that order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import fx


def backend(
    gm: fx.GraphModule, example_inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None
) -> Any:
    """The `torch.compile` backend. Found by entry point; imports torch only when called."""
    from fastsa.runtime.dynamo_backend import compile_graph

    return compile_graph(gm, example_inputs, options or {})
