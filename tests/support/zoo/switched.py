"""A model that is captured once and then runs under one plan after the other.

AOTAutograd is handed the forward and the backward of one plan; those of the others are made of the
same joint graph and run in their place. They differ in what the forward saves, and torch saves
whatever comes behind the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from torch import fx
from torch._guards import TracingContext
from torch.utils import _pytree as pytree

from fastsa.capture.accumulation import Accumulation
from fastsa.capture.faithful import Boxed
from fastsa.capture.joint_graph import capture
from fastsa.capture.region import Modules, Part, Region, code, compile_region
from fastsa.capture.tangents import write_down
from fastsa.planner.graph import Graph
from fastsa.planner.validation import validate
from fastsa.runtime import accumulate
from fastsa.runtime.partition import UNCHECKED, partition
from support.zoo.plans import PLANS

UNPLANNED = "unplanned"


class Variant(Region):
    """A region in one order; it adds gradients into `.grad` as that of a planned job does."""

    accumulation: Accumulation | None = None

    def backward_compiled(self, module: fx.GraphModule) -> None:
        super().backward_compiled(module)
        self.accumulation = accumulate.written_in(module)

    def backward_begins(self, arguments: Sequence[Any]) -> None:
        if self.accumulation is not None:
            accumulate.begin(self.accumulation, arguments)

    def backward_ended(self, gradients: Sequence[Any]) -> None:
        accumulate.end()


class SwitchedRegion(Region):
    """One graph of a model, under all plans."""

    def __init__(self, model: Switched) -> None:
        self.model = model
        self.repeats: dict[str, int] = {}  # by plan: ops that it runs again
        self.unchecked: dict[str, int] = {}  # how much of what is saved may be overwritten
        self.forwards: dict[str, Boxed] = {}
        self.backwards: dict[str, Boxed] = {}
        self.handed_on = ""
        self.variants = {name: Variant() for name in (*PLANS, UNPLANNED)}

    def partition(self, joint: fx.GraphModule, num_fwd_outputs: int) -> Modules:
        """In all orders; torch goes on with one of them."""
        captured = capture(joint, num_fwd_outputs, name="zoo", device_name="cpu")
        captured.graph = timed(captured.graph)
        modules = {}
        for name, choose in PLANS.items():
            plan = choose(captured)
            validate(captured.graph, plan)
            self.repeats[name] = len(plan.sequence) - len(captured.graph.ops)
            modules[name] = partition(captured, plan)
        modules[UNPLANNED] = super().partition(joint, num_fwd_outputs)
        self.unchecked = {
            name: count_unchecked(forward, num_fwd_outputs)
            for name, (forward, _) in modules.items()
        }
        # torch makes code that looks after such tensors only where it sees some.
        self.handed_on = max(PLANS, key=lambda name: self.unchecked[name])
        for name, (forward, backward) in modules.items():
            if name != self.handed_on:
                write_down(joint, backward)
                self.forwards[name] = code(self.variants[name], forward, "forward")
                self.backwards[name] = code(self.variants[name], backward, "backward")
        return modules[self.handed_on]

    def make_code(self, region: Region, module: fx.GraphModule, part: Part) -> Boxed:
        """Functions that run the current variant's."""
        variant = self.variants.get(self.handed_on)
        if part == "inference" or variant is None:
            return code(region, module, "inference")
        if part == "backward":
            self.backwards[self.handed_on] = code(variant, module, part)
            return switched(lambda: self.backwards[self.model.current])
        self.forwards[self.handed_on] = code(variant, module, part)
        metadata = TracingContext.get().fw_metadata

        def current() -> Boxed:
            metadata.num_tensors_saved_with_no_vc_check = self.unchecked[self.model.current]
            return self.forwards[self.model.current]

        return switched(current)


class Switched:
    """A compiled model; `current` names the plan that it runs under."""

    def __init__(self) -> None:
        self.current = UNPLANNED
        self.regions: list[SwitchedRegion] = []

    def backend(self, gm: fx.GraphModule, inputs: Sequence[Any]) -> Any:
        """A backend of Dynamo's: each graph is a region."""
        region = SwitchedRegion(self)
        compiled = compile_region(region, gm, inputs, region.make_code)
        if region.handed_on:
            self.regions.append(region)
        return compiled


def timed(graph: Graph) -> Graph:
    """Every op takes as long: the planner has a reason to repeat few."""
    ops = tuple(msgspec.structs.replace(op, seconds=1e-3) for op in graph.ops)
    return msgspec.structs.replace(graph, ops=ops)


def count_unchecked(forward: fx.GraphModule, num_fwd_outputs: int) -> int:
    """As AOTAutograd counts them."""
    output = next(iter(forward.graph.find_nodes(op="output")))
    saved = pytree.arg_tree_leaves(*output.args)[num_fwd_outputs:]
    return sum(isinstance(n, fx.Node) and bool(n.meta.get(UNCHECKED)) for n in saved)


def switched(current: Callable[[], Boxed]) -> Boxed:
    """A function that is another one each time."""

    def run(arguments: list[Any]) -> Sequence[Any]:
        return current()(arguments)

    run._boxed_call = True  # type: ignore[attr-defined]  # read by AOTAutograd
    return run
