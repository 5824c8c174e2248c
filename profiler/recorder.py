"""Recorder: takes a script's training apart, step by step, until there is a profile.

Steps, counted from 0: the first, recorded in case there is no other (0), warm and timed (1, 2),
the plain step that is recorded (3), capture and measure op by op (4), record what happens outside
the captured regions (5). With the start of step 6, or the script's end, the profile is complete.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import msgspec
import torch
from torch import fx, nn
from torch._dynamo.exc import TorchDynamoException
from torch.optim import Optimizer

from fastsa.capture import minimum_budget as minimum
from fastsa.capture.accumulation import Accumulation
from fastsa.capture.calls import CallLog
from fastsa.capture.capturable import obstacle
from fastsa.capture.data_parallel import computed, in_one_piece
from fastsa.capture.in_place import (
    compile_in_place,
    compiled_model,
    compiles_a_part,
    put_back,
)
from fastsa.capture.joint_graph import Capture, capture, device_of, outside_op
from fastsa.capture.op_timing import measure
from fastsa.capture.region import (
    Region,
    compile_region,
    first_line,
)
from fastsa.capture.step_graph import Part, step_graph
from fastsa.errors import FastsaError, reason
from fastsa.instrumentation.allocators.events import Allocator
from fastsa.instrumentation.allocators.recorder import is_taken, recorder
from fastsa.instrumentation.device import device_name
from fastsa.instrumentation.module_hooks import BackwardCalls, Call, RootCalls, parameters
from fastsa.instrumentation.nvml import DeviceWatch, watch
from fastsa.instrumentation.script import StopScript, stop_script
from fastsa.instrumentation.step_clock import StepClock
from fastsa.planner.graph import Graph
from fastsa.profiler.assembly import assemble, ending, model_name, signature
from fastsa.profiler.fragmentation import fragmentation
from fastsa.profiler.out_of_memory import origin
from fastsa.profiler.recorded import Recorded
from fastsa.profiler.recording import Recording
from fastsa.profiler.shortage import snapshot_profile, with_minimum
from fastsa.records import profile as records
from fastsa.records.profile import Fragmentation, Profile

FIRST, TIMED, RECORD, CAPTURE, OUTSIDE, DONE = 0, (1, 2), 3, 4, 5, 6
MOST_PASSED = 16
Progress = Callable[[str], None]


class CapturedRegion(Region):
    """A region compiled as it is, to capture its graph and to see what runs around it."""

    def __init__(self, owner: Recorder) -> None:
        self.owner = owner
        self.capture: Capture | None = None
        self.accumulation: Accumulation | None = None

    def partition(
        self, joint: fx.GraphModule, num_fwd_outputs: int
    ) -> tuple[fx.GraphModule, fx.GraphModule]:
        """Capture, then split as torch does."""
        if not self.owner.is_training:
            return super().partition(joint, num_fwd_outputs)  # an evaluation with gradients
        try:
            name = device_name(device_of(joint))
            self.capture = capture(
                joint, num_fwd_outputs, name=self.owner.model_name(), device_name=name
            )
            self.accumulation = Accumulation.of(self.capture)
            self.owner.captured(self)
        except Exception as error:  # noqa: BLE001  the script must run on
            self.capture = None
            self.owner.problems.append(f"a region cannot be captured: {error}")
        return super().partition(joint, num_fwd_outputs)

    @property
    def log(self) -> CallLog[CapturedRegion] | None:
        """Where to say what runs, if the step is being watched."""
        return self.owner.log if self.capture is not None else None

    def forward_begins(self, arguments: Sequence[Any]) -> None:
        """A stretch of the step begins."""
        if self.log is not None:
            self.log.forward_begins(self, arguments)

    def forward_ended(self, outputs: Sequence[Any]) -> None:
        """It ends; what is saved comes after the outputs."""
        if self.log is not None and self.capture is not None:
            self.log.forward_ended(outputs[: self.capture.num_fwd_outputs])

    def backward_begins(self, arguments: Sequence[Any]) -> None:
        """A stretch begins; the tangents come after what was saved."""
        if self.log is None or self.capture is None or self.accumulation is None:
            return
        count = len(outside_op(self.capture.graph).outputs) - 1
        accumulated = self.accumulation.targets(arguments)
        self.log.backward_begins(self, arguments[len(arguments) - count :], accumulated)

    def backward_ended(self, gradients: Sequence[Any]) -> None:
        """It ends."""
        if self.log is not None:
            self.log.backward_ended(gradients)


class Recorder:
    """Profiles the training steps that happen while it is entered.

    Calls `stop` in the script's own forward when it has what it needs, unless `keep_running`; that
    raises StopScript, or ends the script a little later. `profile()` says what was recorded,
    `problems` what could not be. An exception that it is left with is the end of the recording,
    and passes through.
    """

    def __init__(
        self,
        script: str,
        arguments: Sequence[str],
        *,
        keep_running: bool = False,
        progress: Progress = lambda text: None,
        stop: Callable[[], None] = stop_script,
    ) -> None:
        self.script = script
        self.arguments = tuple(arguments)
        self.keep_running = keep_running
        self.stop = stop
        self.progress = progress
        self.problems: list[str] = []
        self.is_training = False  # whether a root module is being called to train
        self.note: str | None = None  # what is missing without making the profile incomplete
        self.shortage: Profile | None = None  # of a script that ended for want of memory
        self.clock = StepClock(self._step_begins, self._step_ended, self._optimizer_stepped)
        self.allocator: Allocator | None = None
        self.roots: MutableMapping[nn.Module, None] = {}
        self.log: CallLog[CapturedRegion] | None = None
        self.graphs: dict[CapturedRegion, records.Region] = {}
        self.step: Graph | None = None
        self.shape = ""
        self._calls = ExitStack()
        self._compiled: list[nn.Module] = []
        self.stage = -1  # FIRST to DONE
        self._now = ""  # the shape of the call that is being made
        self._passed = 0  # steps of another shape than the first's
        self._starts: dict[int, float] = {}  # by stage
        self._whole = -1  # the last step that has come to its end
        self._recording: Recording | None = None  # the one that is running
        self._kept: Recording | None = None  # the last that has run
        self._kept_stage = self._kept_step = FIRST
        self._recorded: Recorded | None = None
        self._timed_seconds: float | None = None
        self._ended: str | None = None
        self._profile: Profile | None = None
        self._last_call: tuple[weakref.ref[nn.Module], minimum.Call] | None = None
        self._resident = 0
        self._may_capture = True
        self._watch: DeviceWatch | None = None
        self._fragmentation: Fragmentation | None = None
        self._device = torch.device("cpu")
        self._complete = False
        self._process = os.getpid()
        self._thread = (self._process, 0)  # the one that called the first model

    def __enter__(self) -> Recorder:
        self._calls.enter_context(RootCalls(self._root_called))
        self._calls.enter_context(BackwardCalls(self._backward_called, self._backward_ended))
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, (StopScript, SystemExit)):
            self._ended = ending(error)
        if os.getpid() != self._process:
            return  # a child of the script ends: the recording is its parent's
        broke_off = self._recording is not None
        try:
            self._finish()
            self.clock.close()  # it may have finished in a hook of the clock's
        except Exception as failure:
            if error is None:
                raise
            self._has_problem(f"the recording cannot be read: {reason(failure)}")
        if error is not None:
            self._look_at_memory(error, broke_off=broke_off)

    def _look_at_memory(self, ended_by: BaseException, *, broke_off: bool) -> None:
        """Keep what was alive if the script ends for want of memory."""
        error = origin(ended_by)
        root, call = self._last_call or (lambda: None, None)
        module = root()
        if error is None or module is None or call is None:
            return
        try:
            self.shortage = self._short_profile(error, module, call, broke_off=broke_off)
        except Exception as failure:  # noqa: BLE001  the script's own error must come through
            self._has_problem(f"what was alive cannot be told: {reason(failure)}")

    def _short_profile(
        self, error: BaseException, root: nn.Module, call: minimum.Call, *, broke_off: bool
    ) -> Profile:
        profile = self.profile() if broke_off else None
        if profile is None:
            profile = snapshot_profile(
                error,
                list(self.roots),
                self._device,
                script=self.script,
                arguments=self.arguments,
                shape=self.shape,
            )
        else:
            self._recorded = None  # it is told as the shortage that it is
        return with_minimum(profile, error, root, call, self._device, self._resident)

    # What the script does ---------------------------------------------------------------------

    def _is_elsewhere(self) -> bool:
        """Whether this is a forked process, or not the thread that trains."""
        return self._thread != (os.getpid(), threading.get_ident())

    def _root_called(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call
    ) -> Any:
        if not self.roots and self._process == os.getpid():
            self._thread = (self._process, threading.get_ident())
        if self._is_elsewhere():
            return call()
        self._watched(lambda: self._forward_begins(module, args, kwargs))
        self.is_training = True
        try:
            model = self._model(module)
            if model is not module:
                call = partial(model, *args, **kwargs)
            with in_one_piece(model):
                return self._called(computed(model), args, kwargs, call)
        finally:
            self.is_training = False

    def _model(self, module: nn.Module) -> nn.Module:
        """What is to be called: once it is captured, not what the script has compiled of it."""
        if self._complete or self.stage < CAPTURE or not self._may_capture:
            return module
        return compiled_model(module) or module

    def _called(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call
    ) -> Any:
        if self._complete or self.stage < CAPTURE or module in self._compiled:
            return call()
        if not self._is_capturable(module, (args, kwargs)):
            return call()
        self._compiled.append(module)
        return compile_in_place(module, self._backend, call, partial(self._not_captured, module))

    def _is_capturable(self, module: nn.Module, arguments: object) -> bool:
        why = obstacle(module, arguments)
        if why is not None:
            self._refuse(why)
        return self._may_capture

    def _forward_begins(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if module not in self.roots:
            self.roots[module] = None
            self._device = next(parameters(module)).device
        self._now = signature(args, kwargs)
        self.shape = self.shape or self._now
        self.clock.forward()
        if not self._complete:
            self._last_call = (weakref.ref(module), minimum.Call.of(args, kwargs))
        if self._recording is not None:
            self._recording.forward((args, kwargs))

    def _backward_called(self, tensors: tuple[torch.Tensor, ...], creates_graph: bool) -> None:
        if self._is_elsewhere():
            return
        if creates_graph:
            self._refuse("the script takes gradients of gradients")
        recording = self._recording
        if recording is not None and tensors:
            self._watched(lambda: recording.backward(tensors))

    def _refuse(self, why: str) -> None:
        """Do not capture: the script could not go on with a captured model."""
        self._may_capture = False
        self._has_problem(f"{why}: there is no graph to plan")

    def _backward_ended(self) -> None:
        if not self._complete and not self._is_elsewhere():
            self._watched(self.clock.backward_ended)

    def _watched(self, work: Callable[[], None]) -> None:
        """Do our own work inside the script; if it fails the recording is over, not the script."""
        try:
            with torch._C.DisableTorchFunction():  # the program's own modes are not to see it
                work()
        except Exception as error:  # noqa: BLE001  the recording is over, not the script
            self._has_problem(f"the recording failed: {reason(error)}")
            self._finish()
            if not self.keep_running:
                self.stop()

    def _not_captured(
        self, module: nn.Module, error: TorchDynamoException, call: Callable[[], Any]
    ) -> Any:
        result = call()
        put_back(module)
        self._has_problem(f"the model cannot be captured: {first_line(error)}")
        return result

    def _has_problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def _step_begins(self, step: int) -> None:
        now = time.perf_counter()
        self._stop_recording()
        if self.stage == TIMED[1] and self._timed_seconds is None:
            first, second = (self._starts[each] for each in TIMED)
            self._timed_seconds = min(second - first, now - second)
        if self._is_other_than_usual():
            return
        self.stage += 1
        self._begin_stage(step)
        self._starts[self.stage] = time.perf_counter()

    def _is_other_than_usual(self) -> bool:
        """Whether this step has to pass: what is recorded and captured has one shape."""
        if self.stage + 1 not in (RECORD, CAPTURE, OUTSIDE) or self._now == self.shape:
            return False
        self._passed += 1
        return self._passed <= MOST_PASSED

    def _begin_stage(self, step: int) -> None:
        if self.stage == FIRST:
            self._start_recording(step)
        elif self.stage in TIMED:
            self.progress(f"warming up, step {step + 1} of {RECORD}")
        elif self.stage == RECORD:
            self.progress("recording one step")
            self._start_recording(step)
        elif self.stage == CAPTURE:
            if self._now != self.shape:
                self._has_problem(f"the graph is of another shape: {self._now}")
            self.progress("capturing the graph and measuring it op by op")
        elif self.stage == OUTSIDE:
            self._watch_outside()
        else:
            self._finish()
            if not self.keep_running:
                self.stop()

    def _optimizer_stepped(self, optimizer: Optimizer) -> None:
        recording = self._recording
        if recording is not None and not self._is_elsewhere():
            self._watched(lambda: recording.stepped(optimizer))

    def _step_ended(self, step: int) -> None:
        self._whole = self.stage

    # Recording --------------------------------------------------------------------------------

    def _start_recording(self, step: int) -> None:
        try:
            compiles = self.stage == FIRST and any(map(compiles_a_part, self.roots))
            self._recording = Recording(self._device, self.roots, compiles=compiles)
        except FastsaError as error:
            self._has_problem(error.message)
            return
        self._kept_stage, self._kept_step = self.stage, step
        self.shape = self._now
        self._resident = self._recording.start_bytes
        self._watch = watch(self._device).__enter__()

    def _stop_recording(self) -> None:
        recording, self._recording = self._recording, None
        if recording is None:
            return
        recording.stop()
        self._fragmentation = fragmentation(self._device)
        if self._watch is not None:
            self._watch.__exit__(None, None, None)
            self.note = self._watch.missing
        if recording.was_interrupted:
            self._has_problem("the script started a torch.profiler of its own meanwhile")
        self._kept = recording

    def _watch_outside(self) -> None:
        if not is_taken(self._device):
            self.allocator = recorder(self._device, alive=True).__enter__()
            self.log = CallLog(self.allocator)

    def _stop_allocator(self) -> Allocator | None:
        allocator, self.allocator = self.allocator, None
        if allocator is not None:
            allocator.__exit__(None, None, None)
        return allocator

    def _backend(self, gm: fx.GraphModule, example_inputs: list[Any]) -> Any:
        return compile_region(CapturedRegion(self), gm, example_inputs)

    def captured(self, region: CapturedRegion) -> None:
        """Measure a captured region and keep its graph."""
        if region.capture is None:
            return
        self._stop_allocator()  # a graph met this late: measuring it takes the recorder
        self.log = None
        captured_hash = region.capture.graph.hash()
        self.graphs[region] = records.Region(captured_hash, measure(region.capture))

    def _finish(self) -> None:
        if self._complete:
            return
        self._complete = True
        with ExitStack() as rest:  # each of these happens, whichever fails; the last one first
            if self.keep_running and self.stage >= DONE:
                rest.callback(self._let_go)
            rest.callback(lambda: self._join(self._stop_allocator()))
            rest.callback(self._stop_recording)
            for module in self._compiled:
                rest.callback(put_back, module)
            rest.callback(self.clock.close)
            rest.callback(self._calls.close)

    def _let_go(self) -> None:
        """The script trains on: what it deletes must not live on here."""
        self._profile = self.profile()
        self._compiled.clear()
        self.roots = weakref.WeakKeyDictionary(self.roots)

    def _join(self, allocator: Allocator | None) -> None:
        """Make the step's graph of the regions and what ran between them."""
        log, self.log = self.log, None
        if log is None or allocator is None or self.stage < OUTSIDE:
            return
        parts = {r: Part(r.capture, g.graph) for r, g in self.graphs.items() if r.capture}
        self.step = step_graph(
            parts,
            log.calls,
            allocator.events,
            allocator.spans,
            name=self.model_name(),
            resident_bytes=self._resident,
        )

    # Results ----------------------------------------------------------------------------------

    def model_name(self) -> str:
        """Class paths of the root modules seen so far."""
        return model_name(self.roots)

    def shortfall(self) -> str:
        """Why there is no profile, in words."""
        if self.problems:
            return "; ".join(self.problems)
        return "no module with parameters was called in training mode"

    def profile(self) -> Profile | None:
        """The profile, as far as the script came; None if not even one step was recorded."""
        if self._profile is not None:
            return msgspec.structs.replace(self._profile, ended=self._ended)
        if self._kept is not None:
            self._recorded, self._kept = self._kept.read(), None
        found = self._recorded
        if found is None:
            return None
        return assemble(
            found,
            self.roots,
            self._device,
            script=self.script,
            arguments=self.arguments,
            shape=self.shape,
            step_seconds=self._step_seconds(found),
            regions=tuple(self.graphs.values()),
            step=self.step,
            missing=(*self._shortcomings(), *self.problems),
            ended=self._ended,
            device_use=self._watch.use if self._watch else None,
            fragmentation=self._fragmentation,
        )

    def _step_seconds(self, found: Recorded) -> float | None:
        """The fastest whole step; the recorded one is no faster than a plain one would be."""
        if self._timed_seconds is None or self._kept_stage != RECORD or self._whole < RECORD:
            return self._timed_seconds
        return min(self._timed_seconds, found.timeline.seconds)

    def _shortcomings(self) -> list[str]:
        found = []
        if self._whole < self._kept_stage:
            found.append(f"step {self._kept_step + 1} was recorded and broke off")
        elif self._kept_stage == FIRST:
            found.append("only the first step was recorded, before anything was warm")
        if not self.graphs and not self.problems and self.stage > CAPTURE:
            found.append("the model could not be captured as a graph")
        elif not self.graphs and not self.problems:
            found.append(
                f"there is no graph to plan: the script ended in its training step "
                f"{self.clock.step + 1}, and {CAPTURE + 1} are needed"
            )
        return found
