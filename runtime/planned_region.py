"""A region of a planned job: it gets its order from the job, and says when it runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import torch
from torch import fx

from fastsa.capture.accumulation import Accumulation, accumulated_values, has_gradient
from fastsa.capture.calls import CallLog
from fastsa.capture.joint_graph import Capture, capture, device_of, eager_op
from fastsa.capture.region import Modules, Region
from fastsa.errors import InfeasibleBudget, reason
from fastsa.instrumentation.device import device_name
from fastsa.planner.graph import Graph
from fastsa.planner.step import Order
from fastsa.runtime import accumulate
from fastsa.runtime.aot_cache import Lookup
from fastsa.runtime.decision import Decision
from fastsa.runtime.partition import partition
from fastsa.runtime.ranks import Disagreement, Ranks, report_rank
from fastsa.runtime.selector import Needs


class RegionJob(Protocol):
    """What a region needs of the job that it is a part of."""

    @property
    def model(self) -> str:
        """What the model is called."""
        ...

    @property
    def training(self) -> bool:
        """Whether a planned region has run: from then on nothing may stop the job."""
        ...

    @property
    def ranks(self) -> Ranks:
        """Those that agree on one plan."""
        ...

    @property
    def log(self) -> CallLog[Region] | None:
        """Where to say what runs; None if no step is being recorded."""
        ...

    def decide(self, captured: Capture, needs: Needs, *, is_whole: bool) -> Decision:
        """A plan for a captured region."""
        ...

    def order(self, decision: Decision, captured: Graph) -> Order:
        """What a decision means for a captured region. Raises IllegalPlan."""
        ...

    def planned(
        self,
        decision: Decision,
        region: PlannedRegion,
        device: torch.device,
        captured: Capture | None,
    ) -> None:
        """A region has got its plan; what it was captured as is None if it was not traced."""
        ...

    def forward_begins(self) -> None:
        """A planned region's forward begins."""
        ...

    def refuse(self, error: InfeasibleBudget) -> None:
        """No plan can meet the budget."""
        ...

    def warn(self, text: str) -> None:
        """Say something once."""
        ...


class PlannedRegion(Region):
    """A region that runs in its plan's order, or as torch would if there is no plan for it.

    `is_whole`: whether it is all of a model, as far as anybody can tell. `inputs` are an example
    of the forward's.
    """

    def __init__(self, job: RegionJob, inputs: Sequence[Any] = (), *, is_whole: bool) -> None:
        self.job = job
        self.is_whole = is_whole
        self._have_gradients = [has_gradient(value) for value in inputs]
        self.lookup: Lookup | None = None
        self.recalled: Decision | None = None
        self.calls = 0
        self._is_counted = False  # not if it comes out of torch's cache
        self.accumulation: Accumulation | None = None
        self._outputs = self._tangents = 0  # how many

    def partition(self, joint: fx.GraphModule, num_fwd_outputs: int) -> Modules:
        """Plan the region. Raises InfeasibleBudget; any other failure means unplanned."""
        try:
            return self._planned(joint, num_fwd_outputs)
        except InfeasibleBudget as error:
            if not self.job.training:
                self.job.refuse(error)
                raise
            self.job.warn(f"a region met in mid-training trains unplanned: {error.message}")
            return super().partition(joint, num_fwd_outputs)
        except Disagreement as error:
            if not error.is_reported:
                self.job.warn(f"the model trains unplanned on all ranks: {error.message}")
            return super().partition(joint, num_fwd_outputs)
        except Exception as error:  # noqa: BLE001  a failure of ours must not stop the job
            self.job.warn(f"a region trains unplanned: {reason(error)}")
            return super().partition(joint, num_fwd_outputs)

    def _planned(self, joint: fx.GraphModule, num_fwd_outputs: int) -> Modules:
        job, device = self.job, device_of(joint)
        if self.lookup is not None:
            self.lookup.traced = True
        with job.ranks.agreement() as agreed:
            name = device_name(device)
            captured = capture(joint, num_fwd_outputs, name=job.model, device_name=name)
            captured.accumulated = accumulated_values(captured, self._have_gradients)
            self._count(captured)
            decision = agreed.decision(
                captured.graph,
                lambda graph: report_rank(graph, device),
                lambda needs: (
                    self._recalled(captured) or job.decide(captured, needs, is_whole=self.is_whole)
                ),
            )
            captured_hash = captured.graph.hash()
            order = job.order(decision, captured.graph)
            modules = partition(captured, order)
        job.planned(decision, self, device, captured)
        if self.lookup is not None:
            kept = None if decision.plan_id is None else order.digest()
            self.lookup.planned(kept, captured_hash, captured.device)
        return modules

    def backward_compiled(self, module: fx.GraphModule) -> None:
        """Find out which gradients it can add into `.grad`."""
        super().backward_compiled(module)
        self.accumulation = accumulate.written_in(module)

    def _recalled(self, captured: Capture) -> Decision | None:
        """What was decided before the region was traced, if it is what was then expected."""
        expected = self.lookup.expected if self.lookup is not None else None
        if expected is None or expected.captured != captured.graph.hash():
            return None
        return self.recalled

    def _count(self, captured: Capture) -> None:
        self._is_counted = True
        self._outputs = captured.num_fwd_outputs
        self._tangents = len(eager_op(captured.graph).outputs) - 1

    @property
    def _log(self) -> CallLog[Region] | None:
        return self.job.log if self._is_counted else None

    def forward_begins(self, arguments: Sequence[Any]) -> None:
        """A step may begin."""
        self.calls += 1
        self.job.forward_begins()
        if self._log is not None:
            self._log.forward_begins(self, arguments)

    def forward_ended(self, outputs: Sequence[Any]) -> None:
        """A segment of the recorded step ends."""
        if self._log is not None:
            self._log.forward_ended(outputs[: self._outputs])

    def backward_begins(self, arguments: Sequence[Any]) -> None:
        """Find the gradients to add into `.grad`; a segment of the recorded step begins."""
        accumulated: Collection[int] = ()
        if self.accumulation is not None:
            accumulated = accumulate.begin(self.accumulation, arguments)
        if self._log is not None:
            tangents = arguments[len(arguments) - self._tangents :]
            self._log.backward_begins(self, tangents, accumulated)

    def backward_ended(self, gradients: Sequence[Any]) -> None:
        """A segment of the recorded step ends, and the ranks are past their first."""
        accumulate.end()
        self.job.ranks.trained()
        if self._log is not None:
            self._log.backward_ended(gradients)
