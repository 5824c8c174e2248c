"""A region under a random plan that adds gradients into `.grad` itself, and counts them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from fastsa.capture.joint_graph import capture
from fastsa.capture.region import Modules, compile_region
from fastsa.runtime import accumulate
from fastsa.runtime.partition import partition
from support.compiled import WithPlan
from support.random_plans import random_plan


class Accumulates(WithPlan):
    """`added`: for each backward, how many gradients it added itself."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(lambda captured: random_plan(captured.graph, random.Random(seed)))
        self.added: list[int] = []
        self.seed = seed

    def compile(self, model: nn.Module) -> None:
        """Each graph becomes a region of its own; models of one make share them."""
        model.compile(backend=self.backend)

    def backend(self, gm: fx.GraphModule, inputs: Sequence[Any]) -> Any:
        """A backend of Dynamo's."""
        region = Accumulates(self.seed)
        region.added = self.added
        return compile_region(region, gm, inputs)

    def partition(self, joint: fx.GraphModule, num_fwd_outputs: int) -> Modules:
        captured = capture(joint, num_fwd_outputs, name="test", device_name="cpu")
        return partition(captured, self.choose(captured))

    def backward_compiled(self, module: fx.GraphModule) -> None:
        super().backward_compiled(module)
        self.accumulation = accumulate.written_in(module)

    def backward_begins(self, arguments: Sequence[Any]) -> None:
        assert self.accumulation is not None
        self.expected = accumulate.begin(self.accumulation, arguments)

    def backward_ended(self, gradients: Sequence[Any]) -> None:
        accumulate.end()
        missing = {p for p in self.expected if gradients[p] is None}
        assert missing == self.expected
        self.added.append(len(missing))


def same(left: list[Any], right: list[Any]) -> bool:
    """Whether two scripts have seen the same, to the last bit."""
    return len(left) == len(right) and all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b
        for a, b in zip(left, right, strict=True)
    )
