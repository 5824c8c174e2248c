"""Capturing: the models of a script become graphs, measured op by op and joined to its step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from fastsa.capture.accumulation import Accumulation
from fastsa.capture.calls import CallLog
from fastsa.capture.capturable import obstacle
from fastsa.capture.in_place import compile_in_place, restore_module
from fastsa.capture.joint_graph import Capture, capture, device_of, eager_op
from fastsa.capture.op_timing import measure
from fastsa.capture.region import Region, compile_region, first_line
from fastsa.capture.step_graph import JoinedRegion, step_graph
from fastsa.instrumentation.allocators.events import Allocator
from fastsa.instrumentation.allocators.recorder import is_taken, recorder
from fastsa.instrumentation.device import device_name
from fastsa.instrumentation.module_hooks import Call
from fastsa.planner.graph import Graph
from fastsa.records import profile as records


class Capturing:
    """Captures what it is given to call.

    Args:
        model_name: Tells the name of the models.
        report: Told of each problem.

    Attributes:
        graphs: The measured graph of each captured region.
        log: Where regions say what runs, while a step is being watched.
        step: The graph of the step, once `join` has made it.
        is_allowed: Whether capturing would go unnoticed by the script.
    """

    def __init__(self, model_name: Callable[[], str], report: Callable[[str], None]) -> None:
        self.graphs: dict[CapturedRegion, records.MeasuredRegion] = {}
        self.log: CallLog[CapturedRegion] | None = None
        self.step: Graph | None = None
        self.is_allowed = True
        self._model_name = model_name
        self._report = report
        self._modules: list[nn.Module] = []  # compiled by us
        self._allocator: Allocator | None = None
        self._trains = False  # whether a root module is being called to train

    @contextmanager
    def training(self) -> Iterator[None]:
        """In it a root module is called to train: what compiles is captured."""
        self._trains = True
        try:
            yield
        finally:
            self._trains = False

    def call(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call
    ) -> Any:
        """Call a module, by `call`, and capture it if that can be done unnoticed."""
        if module in self._modules:
            return call()
        why = obstacle(module, (args, kwargs))
        if why is not None:
            self.refuse(why)
        if not self.is_allowed:
            return call()
        self._modules.append(module)
        return compile_in_place(module, self._backend, call, partial(self._failed, module))

    def refuse(self, why: str) -> None:
        """Do not capture: the script could not go on with a captured model."""
        self.is_allowed = False
        self._report(f"{why}: there is no graph to plan")

    def _failed(self, module: nn.Module, error: BaseException, call: Callable[[], Any]) -> Any:
        result = call()
        restore_module(module)
        self._report(f"the model cannot be captured: {first_line(error)}")
        return result

    def _backend(self, gm: fx.GraphModule, example_inputs: list[Any]) -> Any:
        return compile_region(CapturedRegion(self), gm, example_inputs)

    def captured(
        self, region: CapturedRegion, joint: fx.GraphModule, num_fwd_outputs: int
    ) -> Capture | None:
        """Capture and measure a joint graph. None if it is of no training or cannot be captured."""
        if not self._trains:
            return None  # an evaluation with gradients
        try:
            name = device_name(device_of(joint))
            found = capture(joint, num_fwd_outputs, name=self._model_name(), device_name=name)
            region.accumulates(found)
            self._stop_allocator()  # a graph met this late: measuring it takes the recorder
            self.log = None
            self.graphs[region] = records.MeasuredRegion(found.graph.hash(), measure(found))
        except Exception as error:  # noqa: BLE001  the script must run on
            self._report(f"a region cannot be captured: {error}")
            return None
        return found

    # The step around the regions --------------------------------------------------------------

    def watch(self, device: torch.device) -> None:
        """Record what runs outside of the regions from now on."""
        if not is_taken(device):
            self._allocator = recorder(device, alive=True).__enter__()
            self.log = CallLog(self._allocator)

    def _stop_allocator(self) -> Allocator | None:
        allocator, self._allocator = self._allocator, None
        if allocator is not None:
            allocator.__exit__(None, None, None)
        return allocator

    def stop_watching(self, resident_bytes: int) -> None:
        """Make the step's graph of the regions and of what ran between them.

        Args:
            resident_bytes: What was there when the step began.
        """
        allocator = self._stop_allocator()
        log, self.log = self.log, None
        if log is None or allocator is None:
            return
        parts = {r: JoinedRegion(r.capture, g.graph) for r, g in self.graphs.items() if r.capture}
        self.step = step_graph(
            parts,
            log.calls,
            allocator.events,
            allocator.spans,
            name=self._model_name(),
            resident_bytes=resident_bytes,
        )

    @property
    def undo(self) -> list[Callable[[], None]]:
        """What puts each captured model back."""
        return [partial(restore_module, module) for module in self._modules]

    def let_go(self) -> None:
        """The script trains on: what it deletes must not live on here."""
        self._modules.clear()


class CapturedRegion(Region):
    """A region compiled as it is, to capture its graph and to see what runs around it."""

    def __init__(self, owner: Capturing) -> None:
        self.owner = owner
        self.capture: Capture | None = None
        self.accumulation: Accumulation | None = None

    def partition(
        self, joint: fx.GraphModule, num_fwd_outputs: int
    ) -> tuple[fx.GraphModule, fx.GraphModule]:
        """Capture, then split as torch does."""
        self.capture = self.owner.captured(self, joint, num_fwd_outputs)
        return super().partition(joint, num_fwd_outputs)

    def accumulates(self, captured: Capture) -> None:
        """Find out which gradients go into a `.grad`. Raises what says that it cannot be found."""
        self.accumulation = Accumulation.of(captured)

    @property
    def log(self) -> CallLog[CapturedRegion] | None:
        """Where to say what runs, if the step is being watched."""
        return self.owner.log if self.capture is not None else None

    def forward_begins(self, arguments: Sequence[Any]) -> None:
        """A segment of the step begins."""
        if self.log is not None:
            self.log.forward_begins(self, arguments)

    def forward_ended(self, outputs: Sequence[Any]) -> None:
        """It ends; what is saved comes after the outputs."""
        if self.log is not None and self.capture is not None:
            self.log.forward_ended(outputs[: self.capture.num_fwd_outputs])

    def backward_begins(self, arguments: Sequence[Any]) -> None:
        """A segment begins; the tangents come after what was saved."""
        if self.log is None or self.capture is None or self.accumulation is None:
            return
        count = len(eager_op(self.capture.graph).outputs) - 1
        accumulated = self.accumulation.targets(arguments)
        self.log.backward_begins(self, arguments[len(arguments) - count :], accumulated)

    def backward_ended(self, gradients: Sequence[Any]) -> None:
        """It ends."""
        if self.log is not None:
            self.log.backward_ended(gradients)
