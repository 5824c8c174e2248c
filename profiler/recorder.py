"""Recorder: profiles the training steps of a script, step by step (see Stage).

With the start of the step after the last stage, or the script's end, the profile is complete.
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
from torch import nn
from torch.optim import Optimizer

from fastsa.capture import minimum_budget as minimum
from fastsa.capture.data_parallel import computed, in_one_piece
from fastsa.capture.in_place import compiled_model, compiles_a_part
from fastsa.errors import FastsaError, reason
from fastsa.instrumentation.module_hooks import BackwardCalls, Call, RootCalls, parameters
from fastsa.instrumentation.script import StopScript, stop_script
from fastsa.instrumentation.step_clock import StepClock
from fastsa.profiler.assembly import assemble, ending, model_name, signature
from fastsa.profiler.capturing import Capturing
from fastsa.profiler.out_of_memory import origin
from fastsa.profiler.recorded import Recorded
from fastsa.profiler.shortage import snapshot_profile, with_minimum
from fastsa.profiler.stages import Stage, StageProgress
from fastsa.profiler.step_recording import StepRecording
from fastsa.records.profile import Profile

Tell = Callable[[str], None]


class Recorder:
    """Profiles the training steps that happen while it is entered.

    It is large because a method is an event of the script, and each must leave it unharmed. An
    exception that it is left with is the end of the recording, and passes through.

    Args:
        script: What is recorded, for the profile.
        arguments: Of the script.
        keep_running: Whether the script trains on when the profile is complete.
        progress: Told of each stage.
        stop: Called in the script's own forward when there is enough, unless it keeps running;
            raises StopScript, or ends the script a little later.

    Attributes:
        problems: What could not be recorded.
        shortage: The profile of a script that ended for want of memory.
        clock: Where its steps begin and end.
    """

    def __init__(
        self,
        script: str,
        arguments: Sequence[str],
        *,
        keep_running: bool = False,
        progress: Tell = lambda text: None,
        stop: Callable[[], None] = stop_script,
    ) -> None:
        self.problems: list[str] = []
        self.shortage: Profile | None = None
        self.clock = StepClock(self._step_begins, self._step_ended, self._optimizer_stepped)
        self._start = _Start(script, tuple(arguments), keep_running, progress, stop)
        self._calls = ExitStack()
        self._models = _Models()
        self._at = StageProgress()
        self._recording = StepRecording()
        self._capturing = Capturing(lambda: model_name(self._models.roots), self._has_problem)
        self._ended: str | None = None
        self._profile: Profile | None = None
        self._complete = False

    def __enter__(self) -> Recorder:
        self._calls.enter_context(RootCalls(self._root_called))
        self._calls.enter_context(BackwardCalls(self._backward_called, self._backward_ended))
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, (StopScript, SystemExit)):
            self._ended = ending(error)
        if self._models.is_forked:
            return  # a child of the script ends: the recording is its parent's
        broke_off = self._recording.running is not None
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
        root, call = self._models.last_call()
        if error is None or root is None or call is None:
            return
        try:
            profile = self.profile() if broke_off else None
            if profile is None:
                profile = self._snapshot(error)
            else:
                self._recording.forget()  # it is told as the shortage that it is
            resident = self._recording.resident_bytes
            self.shortage = with_minimum(profile, error, root, call, self._models.device, resident)
        except Exception as failure:  # noqa: BLE001  the script's own error must come through
            self._has_problem(f"what was alive cannot be told: {reason(failure)}")

    def _snapshot(self, error: BaseException) -> Profile:
        return snapshot_profile(
            error,
            list(self._models.roots),
            self._models.device,
            script=self._start.script,
            arguments=self._start.arguments,
            shape=self._models.shape,
        )

    # What the script does ---------------------------------------------------------------------

    def _root_called(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call
    ) -> Any:
        if not self._models.enter():
            return call()
        self._watched(lambda: self._forward_begins(module, args, kwargs))
        with self._capturing.training():
            if self._complete or self._at.stage < Stage.CAPTURE:
                with in_one_piece(module):
                    return call()
            # What the script itself has compiled of a model is no more called then.
            own = compiled_model(module) if self._capturing.is_allowed else None
            model = own or module
            if model is not module:
                call = partial(model, *args, **kwargs)
            with in_one_piece(model):
                return self._capturing.call(computed(model), args, kwargs, call)

    def _forward_begins(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._models.called(module, args, kwargs, keep=not self._complete)
        self.clock.forward()
        if self._recording.running is not None:
            self._recording.running.forward((args, kwargs))

    def _backward_called(self, tensors: tuple[torch.Tensor, ...], creates_graph: bool) -> None:
        if self._models.is_elsewhere():
            return
        if creates_graph:
            self._capturing.refuse("the script takes gradients of gradients")
        recording = self._recording.running
        if recording is not None and tensors:
            self._watched(lambda: recording.backward(tensors))

    def _backward_ended(self) -> None:
        if not self._complete and not self._models.is_elsewhere():
            self._watched(self.clock.backward_ended)

    def _optimizer_stepped(self, optimizer: Optimizer) -> None:
        recording = self._recording.running
        if recording is not None and not self._models.is_elsewhere():
            self._watched(lambda: recording.stepped(optimizer))

    def _watched(self, work: Callable[[], None]) -> None:
        """Do our own work inside the script; if it fails the recording is over, not the script."""
        try:
            with torch._C.DisableTorchFunction():  # the program's own modes are not to see it
                work()
        except Exception as error:  # noqa: BLE001  the recording is over, not the script
            self._has_problem(f"the recording failed: {reason(error)}")
            self._finish()
            if not self._start.keep_running:
                self._start.stop()

    def _has_problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    # Stages -----------------------------------------------------------------------------------

    def _step_begins(self, step: int) -> None:
        now = time.perf_counter()
        self._stop_recording()
        if self._at.step_begins(now, is_usual=self._models.is_usual):
            self._begin_stage(step)
            self._at.stage_has_begun()

    def _step_ended(self, step: int) -> None:
        self._at.step_ended()

    def _begin_stage(self, step: int) -> None:
        progress = self._start.progress
        match self._at.stage:
            case Stage.FIRST:
                self._start_recording(step)
            case Stage.WARM | Stage.TIMED:
                progress(f"warming up, step {step + 1} of {Stage.RECORD.value}")
            case Stage.RECORD:
                progress("recording one step")
                self._start_recording(step)
            case Stage.CAPTURE:
                if not self._models.is_usual:
                    self._has_problem(f"the graph is of another shape: {self._models.now}")
                progress("capturing the graph and measuring it op by op")
            case Stage.EAGER:
                self._capturing.watch(self._models.device)
            case _:
                self._finish()
                if not self._start.keep_running:
                    self._start.stop()

    def _start_recording(self, step: int) -> None:
        stage, roots = self._at.stage, self._models.roots
        compiles = stage == Stage.FIRST and any(map(compiles_a_part, roots))
        try:
            self._recording.start(self._models.device, roots, stage, step, compiles=compiles)
        except FastsaError as error:
            self._has_problem(error.message)
            return
        self._models.is_recorded()

    def _stop_recording(self) -> None:
        problem = self._recording.stop(self._models.device)
        if problem is not None:
            self._has_problem(problem)

    def _finish(self) -> None:
        if self._complete:
            return
        self._complete = True
        with ExitStack() as rest:  # each of these happens, whichever fails; the last one first
            if self._start.keep_running and self._at.stage >= Stage.DONE:
                # The script trains on: what it deletes must not live on here.
                rest.callback(self._models.let_go)
                rest.callback(self._capturing.let_go)
                rest.callback(self._keep_profile)
            rest.callback(self._capturing.stop_watching, self._recording.resident_bytes)
            rest.callback(self._stop_recording)
            for undo in self._capturing.undo:
                rest.callback(undo)
            rest.callback(self.clock.close)
            rest.callback(self._calls.close)

    def _keep_profile(self) -> None:
        self._profile = self.profile()

    # Results ----------------------------------------------------------------------------------

    @property
    def note(self) -> str | None:
        """What is missing without making the profile incomplete."""
        return self._recording.note

    def shortfall(self) -> str:
        """Why there is no profile, in words."""
        if self.problems:
            return "; ".join(self.problems)
        return "no module with parameters was called in training mode"

    def profile(self) -> Profile | None:
        """The profile, as far as the script came; None if not even one step was recorded."""
        if self._profile is not None:
            return msgspec.structs.replace(self._profile, ended=self._ended)
        found = self._recording.read()
        if found is None:
            return None
        return assemble(
            found,
            self._models.roots,
            self._models.device,
            script=self._start.script,
            arguments=self._start.arguments,
            shape=self._models.shape,
            step_seconds=_step_seconds(found, self._at, self._recording),
            regions=tuple(self._capturing.graphs.values()),
            step=self._capturing.step,
            missing=(*self._shortcomings(), *self.problems),
            ended=self._ended,
            device_use=self._recording.device_use,
            fragmentation=self._recording.fragmentation,
        )

    def _shortcomings(self) -> list[str]:
        found = []
        recording, graphs = self._recording, self._capturing.graphs
        if self._at.completed < recording.stage:
            found.append(f"step {recording.step + 1} was recorded and broke off")
        elif recording.stage == Stage.FIRST:
            found.append("only the first step was recorded, before anything was warm")
        if not graphs and not self.problems and self._at.stage > Stage.CAPTURE:
            found.append("the model could not be captured as a graph")
        elif not graphs and not self.problems:
            found.append(
                f"there is no graph to plan: the script ended in its training step "
                f"{self.clock.step + 1}, and {Stage.CAPTURE + 1} are needed"
            )
        return found


def _step_seconds(found: Recorded, at: StageProgress, recording: StepRecording) -> float | None:
    """The fastest whole step; the recorded one is no faster than a plain one would be."""
    timed, is_plain = at.timed_seconds, recording.stage == Stage.RECORD
    if timed is None or not is_plain or at.completed < Stage.RECORD:
        return timed
    return min(timed, found.timeline.seconds)


class _Start(msgspec.Struct, frozen=True):
    """What the recorder was made with."""

    script: str
    arguments: tuple[str, ...]
    keep_running: bool
    progress: Tell
    stop: Callable[[], None]


class _Models:
    """The models that the script has called to train, and how."""

    def __init__(self) -> None:
        self.roots: MutableMapping[nn.Module, None] = {}
        self.device = torch.device("cpu")
        self.shape = ""  # of the first call, or of the one that was recorded
        self.now = ""  # of the call that is being made
        self._last: tuple[weakref.ref[nn.Module], minimum.ModelCall] | None = None
        self._process = os.getpid()
        self._thread = (self._process, 0)  # the one that called the first model

    @property
    def is_forked(self) -> bool:
        """Whether this is a child of the process that was started."""
        return os.getpid() != self._process

    def is_elsewhere(self) -> bool:
        """Whether this is a forked process, or not the thread that trains."""
        return self._thread != (os.getpid(), threading.get_ident())

    def enter(self) -> bool:
        """A model is about to be called. Returns whether it is where the first was."""
        if not self.roots and not self.is_forked:
            self._thread = (self._process, threading.get_ident())
        return not self.is_elsewhere()

    @property
    def is_usual(self) -> bool:
        """Whether the call that is being made has the shape of the first."""
        return self.now == self.shape

    def called(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, keep: bool
    ) -> None:
        """A model is about to be called; `keep` the call, in case it runs out of memory."""
        if module not in self.roots:
            self.roots[module] = None
            self.device = next(parameters(module)).device
        self.now = signature(args, kwargs)
        self.shape = self.shape or self.now
        if keep:
            self._last = (weakref.ref(module), minimum.ModelCall.of(args, kwargs))

    def is_recorded(self) -> None:
        """The call that is being made is the first of a recorded step."""
        self.shape = self.now

    def last_call(self) -> tuple[nn.Module | None, minimum.ModelCall | None]:
        """The model that was called last, and how."""
        root, call = self._last or (lambda: None, None)
        return root(), call

    def let_go(self) -> None:
        """Keep no model alive that the script deletes."""
        self.roots = weakref.WeakKeyDictionary(self.roots)
