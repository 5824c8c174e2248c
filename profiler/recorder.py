"""Recorder: takes a script's training apart, step by step, until there is a profile.

Steps, counted from 0: warm up and time (0 to 2), start recording the allocator (3), record one
plain step (4), capture and measure op by op (5), record what happens outside the captured regions
(6). With the start of step 7, or the script's end, the profile is complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import torch
from torch import fx, nn
from torch._dynamo.exc import TorchDynamoException

from fastsa.errors import FastsaError, reason
from fastsa.profiler import profile as records
from fastsa.profiler.allocator import Allocator, is_taken, recorder
from fastsa.profiler.autograd import saved_storages
from fastsa.profiler.capture import Capture, capture, device_of
from fastsa.profiler.device import device_name, versions
from fastsa.profiler.hooks import BackwardCalls, Call, RootCalls
from fastsa.profiler.outside import Outside, observe, outside_op, storage_sizes, with_outside
from fastsa.profiler.profile import Profile, Saved
from fastsa.profiler.region import (
    Region,
    compile_in_place,
    compile_region,
    first_line,
    is_compiled,
)
from fastsa.profiler.resident import Storage, live_bytes, live_storages
from fastsa.profiler.script import StopScript
from fastsa.profiler.steps import StepClock
from fastsa.profiler.timeline import Timeline
from fastsa.profiler.timeline_builder import Snapshot, build
from fastsa.profiler.timing import measure

LEAD_IN, RECORD, CAPTURE, OUTSIDE, DONE = 3, 4, 5, 6, 7
Progress = Callable[[str], None]


class CapturedRegion(Region):
    """A region compiled as it is, to capture its graph and to see what runs around it."""

    def __init__(self, owner: Recorder) -> None:
        self.owner = owner
        self.capture: Capture | None = None
        self.outputs: list[int] = []
        self.tangents: tuple[int, ...] = ()
        self.span: Any = None

    def partition(
        self, joint: fx.GraphModule, num_fwd_outputs: int
    ) -> tuple[fx.GraphModule, fx.GraphModule]:
        """Capture, then split as torch does."""
        try:
            name = device_name(device_of(joint))
            self.capture = capture(
                joint, num_fwd_outputs, name=self.owner.model_name(), device_name=name
            )
            self.owner.captured(self)
        except Exception as error:  # noqa: BLE001  the script must run on
            self.capture = None
            self.owner.problems.append(f"a region cannot be captured: {error}")
        return super().partition(joint, num_fwd_outputs)

    def forward_ended(self, outputs: Sequence[Any]) -> None:
        """Begin to watch the eager code after the forward."""
        allocator = self.owner.allocator
        if allocator is None or self.capture is None or self.owner.clock.step != OUTSIDE:
            return
        self.outputs = [
            output.untyped_storage().data_ptr() if torch.is_tensor(output) else 0
            for output in outputs[: self.capture.num_fwd_outputs]
        ]
        self.span = allocator.span(f"outside {id(self)}")
        self.span.__enter__()

    def backward_begins(self, arguments: Sequence[Any]) -> None:
        """Stop watching the eager code, and see how large the tangents really are."""
        if self.span is None or self.capture is None:
            return
        self.span.__exit__(None, None, None)
        self.span = None
        count = len(outside_op(self.capture.graph).outputs) - 1
        self.tangents = storage_sizes(arguments[len(arguments) - count :])


class Recorder:
    """Profiles the training steps that happen while it is entered.

    Raises StopScript out of the script's own forward when it has what it needs, unless
    `keep_running`. `profile()` says what was recorded, `problems` what could not be.
    """

    def __init__(
        self,
        script: str,
        arguments: Sequence[str],
        *,
        keep_running: bool = False,
        progress: Progress = lambda text: None,
    ) -> None:
        self.script = script
        self.arguments = tuple(arguments)
        self.keep_running = keep_running
        self.progress = progress
        self.problems: list[str] = []
        self.clock = StepClock(self._step_begins, self._step_ended)
        self.allocator: Allocator | None = None
        self.roots: dict[nn.Module, None] = {}
        self.regions: list[CapturedRegion] = []
        self.graphs: dict[int, records.Region] = {}
        self.shape = ""
        self._calls = ExitStack()
        self._compiled: list[nn.Module] = []
        self._starts: list[float] = []
        self._alive: dict[int, Storage] = {}
        self._labels: dict[int, Storage] = {}
        self._alive_bytes = 0
        self._resident = 0
        self._saved: dict[int, Saved] = {}
        self._saved_addresses: set[int] = set()
        self._timeline: Timeline | None = None
        self._device = torch.device("cpu")
        self._complete = False

    def __enter__(self) -> Recorder:
        self._calls.enter_context(RootCalls(self._root_called))
        self._calls.enter_context(BackwardCalls(self._backward_called))
        return self

    def __exit__(self, *error: object) -> None:
        self._finish()

    # What the script does ---------------------------------------------------------------------

    def _root_called(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call
    ) -> Any:
        if module not in self.roots:
            self.roots[module] = None
            self._device = next(module.parameters()).device
        self.shape = self.shape or signature(args, kwargs)
        self._watched(lambda: self._forward_begins(module))
        if self._complete or self.clock.step < CAPTURE or module in self._compiled:
            return call()
        if is_compiled(module):
            self._has_problem("the script compiles its model itself")
            return call()
        self._compiled.append(module)
        return compile_in_place(module, self._backend, call, self._not_captured)

    def _forward_begins(self, module: nn.Module) -> None:
        self.clock.forward()
        if self.clock.step == RECORD and module is next(iter(self.roots)):
            # Under gradient accumulation a later forward of the step finds gradients alive.
            self._resident = max(self._resident, live_bytes(self._device))

    def _backward_called(self, tensors: tuple[torch.Tensor, ...]) -> None:
        if self.clock.step == RECORD:
            self._watched(lambda: self._see_saved(saved_storages(tensors)))

    def _see_saved(self, found: dict[int, Saved]) -> None:
        # Of several backwards in a step, the one that had the most to hold.
        self._saved_addresses |= found.keys()
        held = sum(saved.bytes for saved in self._saved.values())
        if sum(saved.bytes for saved in found.values()) > held:
            self._saved = found

    def _watched(self, work: Callable[[], None]) -> None:
        """Do our own work inside the script; if it fails the recording is over, not the script."""
        try:
            work()
        except Exception as error:
            self._has_problem(f"the recording failed: {reason(error)}")
            self._finish()
            if not self.keep_running:
                raise StopScript from error

    def _not_captured(self, error: TorchDynamoException) -> None:
        self._has_problem(f"the model cannot be captured: {first_line(error)}")

    def _has_problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def _step_begins(self, step: int) -> None:
        self._starts.append(time.perf_counter())
        if step < LEAD_IN:
            self.progress(f"warming up, step {step + 1} of {LEAD_IN}")
        elif step == LEAD_IN:
            self._start_allocator()
        elif step == RECORD:
            self.progress("recording one step")
            self._mark("step")
            self._alive_bytes = live_bytes(self._device)
            self._alive = live_storages(self._device)
        elif step == CAPTURE:
            self._end_of_recorded_step()
            self.progress("capturing the graph and measuring it op by op")
        elif step == OUTSIDE:
            self._start_allocator()
        else:
            self._finish()
            if not self.keep_running:
                raise StopScript

    def _step_ended(self, step: int) -> None:
        if step == RECORD:
            self._watched(self._label)

    def _label(self) -> None:
        self._mark("optimizer")
        self._labels = live_storages(self._device)

    # Recording --------------------------------------------------------------------------------

    def _start_allocator(self) -> None:
        if is_taken(self._device):
            raise FastsaError(
                "the script has a torch.profiler, and two cannot record at a time",
                hint="switch the script's own profiler off",
            )
        self.allocator = recorder(self._device).__enter__()

    def _stop_allocator(self) -> Allocator | None:
        allocator, self.allocator = self.allocator, None
        if allocator is not None:
            allocator.__exit__(None, None, None)
        return allocator

    def _mark(self, name: str) -> None:
        if self.allocator is not None:
            with self.allocator.span(name):
                pass

    def _end_of_recorded_step(self) -> None:
        allocator = self._stop_allocator()
        if allocator is None:
            return
        first = allocator.spans["step"][0]
        labels = Snapshot(allocator.spans["optimizer"][0] - first, self._labels)
        self._timeline = build(
            allocator.events[first:],
            self._alive,
            labels,
            frozenset(self._saved_addresses),
            self._alive_bytes,
        )
        self._alive, self._labels = {}, {}

    def _backend(self, gm: fx.GraphModule, example_inputs: list[Any]) -> Any:
        region = CapturedRegion(self)
        self.regions.append(region)
        return compile_region(region, gm, example_inputs)

    def captured(self, region: CapturedRegion) -> None:
        """Measure a captured region and keep its graph."""
        if region.capture is None:
            return
        captured_hash = region.capture.graph.hash()
        self.graphs[id(region)] = records.Region(captured_hash, measure(region.capture))

    def _finish(self) -> None:
        if self._complete:
            return
        self._complete = True
        self._calls.close()
        self.clock.close()
        for module in self._compiled:
            module._compiled_call_impl = None
        allocator = self._stop_allocator()
        if allocator is not None and self.clock.step >= OUTSIDE:
            self._observe_outside(allocator)

    def _observe_outside(self, allocator: Allocator) -> None:
        for region in self.regions:
            span = allocator.spans.get(f"outside {id(region)}")
            if span is None or region.capture is None:
                continue
            seen = observe(allocator.events[slice(*span)], region.outputs, region.tangents)
            self._apply_outside(region, region.capture, seen)

    def _apply_outside(self, region: CapturedRegion, found: Capture, seen: Outside) -> None:
        kept = self.graphs[id(region)]
        graph = with_outside(kept.graph, found.output_values, seen)
        self.graphs[id(region)] = records.Region(kept.captured_hash, graph)

    # Results ----------------------------------------------------------------------------------

    def model_name(self) -> str:
        """Class paths of the root modules seen so far."""
        names = dict.fromkeys(f"{type(m).__module__}.{type(m).__qualname__}" for m in self.roots)
        return ", ".join(names)

    def shortfall(self) -> str:
        """Why there is no profile, in words."""
        if self.problems:
            return "; ".join(self.problems)
        if not self.roots:
            return "no module with parameters was called in training mode"
        if self._timeline is None:
            return (
                f"the script ended in training step {self.clock.step + 1} and "
                f"{CAPTURE + 1} are needed"
            )
        return "the model could not be captured as a graph"

    def profile(self) -> Profile | None:
        """The profile, or None if the script did not train long enough for one."""
        if self._timeline is None or not self.graphs:
            return None
        durations = [b - a for a, b in zip(self._starts[1:LEAD_IN], self._starts[2:], strict=False)]
        parameters = {id(p): p.numel() for m in self.roots for p in m.parameters()}
        return Profile(
            schema="fastsa.profile/2",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            script=self.script,
            arguments=self.arguments,
            model=self.model_name(),
            parameters=sum(parameters.values()),
            shape=self.shape,
            device=device_name(self._device),
            versions=versions(),
            resident_bytes=self._resident,
            peak_bytes=self._timeline.peak_bytes,
            step_seconds=min(durations),
            timeline=self._timeline,
            saved=tuple(sorted(self._saved.values(), key=lambda saved: -saved.bytes)),
            regions=tuple(self.graphs.values()),
        )


def signature(args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    """A call's tensors as people read them, e.g. `int64[8,256], float32[8,3,32,32]`."""
    leaves = torch.utils._pytree.tree_leaves((tuple(args), kwargs))
    return ", ".join(
        f"{str(leaf.dtype).removeprefix('torch.')}[{','.join(map(str, leaf.shape))}]"
        for leaf in leaves
        if isinstance(leaf, torch.Tensor)
    )
