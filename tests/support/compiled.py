"""Models compiled under plans of the test's choosing, trained, and compared bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn

from fastsa.capture.joint_graph import Capture, capture
from fastsa.capture.region import Modules, Region, compile_region
from fastsa.planner.plan import Plan
from fastsa.planner.validation import validate
from fastsa.runtime.partition import partition
from support.models import Case

STEPS = 3
Bits = list[torch.Tensor]


def train(case: Case, prepare: Callable[[nn.Module], object], autocast: bool = False) -> Bits:
    """Losses, gradients, parameters and buffers of a few steps, every bit of them."""
    torch.manual_seed(0)
    model = case.make()
    prepare(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    bits: Bits = []
    for step in range(STEPS):
        torch.manual_seed(step)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = case.loss(model)
        loss.backward()
        bits.append(loss.detach().clone())
        bits += [p.grad.clone() for p in model.parameters() if p.grad is not None]
        bits += [buffer.clone() for buffer in model.buffers()]
        bits.append(torch.rand(3))  # the generator is where it would be
        optimizer.step()
    return bits


def same(left: Bits, right: Bits) -> bool:
    """Whether two trainings have the same bits."""
    return len(left) == len(right) and all(map(torch.equal, left, right))


class WithPlan(Region):
    """A region under whatever plan `choose` makes of its capture."""

    def __init__(self, choose: Callable[[Capture], Plan]) -> None:
        self.choose = choose
        self.plans: list[Plan] = []

    def partition(self, joint: fx.GraphModule, num_fwd_outputs: int) -> Modules:
        """The two graphs, in the plan's order."""
        captured = capture(joint, num_fwd_outputs, name="test", device_name="cpu")
        chosen = self.choose(captured)
        validate(captured.graph, chosen)
        self.plans.append(chosen)
        return partition(captured, chosen)

    def compile(self, model: nn.Module) -> None:
        """Compile a model in place, all its graphs in this region."""
        model.compile(backend=lambda gm, inputs: compile_region(self, gm, inputs))


def unplanned(model: nn.Module) -> None:
    """Compile a model as torch does when nothing is planned."""
    model.compile(backend=unplanned_backend)


def unplanned_backend(gm: fx.GraphModule, inputs: Sequence[Any]) -> Any:
    """A backend of Dynamo's that plans nothing; models of one make share what it compiles."""
    return compile_region(Region(), gm, inputs)
