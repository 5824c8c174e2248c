"""Profiling from Python: in a notebook, in a test, in a training script of one's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsa.errors import FastsaError, reason, warn

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim import Optimizer

    from fastsa.instrumentation.module_hooks import Call
    from fastsa.profiler.recording import Recording
    from fastsa.records.profile import Profile

HINT = "see docs/profiler.md for what can be recorded"


class Profiled:
    """What was recorded, for people. Raises FastsaError where there is nothing."""

    def __init__(self) -> None:
        self._profile: Profile | None = None
        self._shortfall = "the recording has not ended"

    @property
    def profile(self) -> Profile:
        """All that was recorded."""
        if self._profile is None:
            raise FastsaError(f"nothing was recorded: {self._shortfall}", hint=HINT)
        return self._profile

    @property
    def peak(self) -> int:
        """The highest number of bytes alive at a time, measured: the process's on the device."""
        return self.profile.peak_bytes

    def report(self, html: Path | str | None = None) -> None:
        """Print what `fastsa show` prints of a stored profile, or write a page to the file `html`.

        A page needs the extra `plots`. Raises BadInput if it cannot be written.
        """
        if html is not None:
            from fastsa.report.html import document
            from fastsa.report.html.subject import PageSubject

            document.write(PageSubject(self.profile.id(), self.profile), Path(html))
            return
        from fastsa.report import profile, profile_text, terminal

        terminal.show(profile_text.render(profile.summarize(self.profile.id(), self.profile)))

    def save(self, store: Path | None = None) -> str:
        """Keep the profile in a store, by default the user's, for every command. Returns its id."""
        from fastsa.cache.store import Store

        with Store.open(store) as opened:
            return opened.add_profile(self.profile)


class Session(Profiled):
    """Records everything from the beginning of a `with` block to its end; made by `profile`.

    If the block raises, what happened until then is recorded, and the exception passes through. If
    nothing can be recorded there is one FastsaWarning.
    """

    def __init__(self, models: Iterable[nn.Module], device: torch.device) -> None:
        super().__init__()
        self._roots = dict.fromkeys(models)
        self._device = device
        self._shape = ""
        self._recording: Recording | None = None
        self._hooks = ExitStack()

    def __enter__(self) -> Session:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        import fastsa.profiler.assembly  # noqa: F401  an import would be in the recording
        from fastsa.instrumentation.module_hooks import BackwardCalls, RootCalls
        from fastsa.profiler.recording import Recording

        try:
            self._recording = Recording(self._device, self._roots)
        except FastsaError as error:
            self._failed(error)
            return self
        self._hooks.enter_context(RootCalls(self._root_called))
        self._hooks.enter_context(BackwardCalls(self._backward_called))
        handle = register_optimizer_step_post_hook(self._optimizer_stepped)
        self._hooks.callback(handle.remove)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._hooks.close()
        recording, self._recording = self._recording, None
        if recording is None:
            return
        try:
            recording.stop()
            self._profile = self._assemble(recording, error)
        except Exception as failure:  # noqa: BLE001  the user's own exception must pass
            self._failed(failure)

    def _assemble(self, recording: Recording, error: BaseException | None) -> Profile:
        from fastsa.profiler.assembly import assemble, ending

        missing = ["there is no graph to plan: profile_step or fastsa-profile record one"]
        if error is not None:
            missing.insert(0, "the recording broke off")
        if recording.was_interrupted:
            missing.insert(0, "torch.profiler was started meanwhile, which ended the recording")
        return assemble(
            recording.read(),
            self._roots,
            self._device,
            script=Path(sys.argv[0]).name or "python",
            shape=self._shape,
            missing=missing,
            ended=None if error is None else ending(error),
        )

    def _failed(self, error: Exception) -> None:
        self._shortfall = reason(error)
        warn(f"nothing recorded: {reason(error)}")

    def _watched(self, work: Callable[[Recording], None]) -> None:
        if self._recording is None:
            return
        try:
            work(self._recording)
        except Exception as error:  # noqa: BLE001  a failure of ours must not stop the program
            self._recording.stop()
            self._recording = None
            self._failed(error)

    def _root_called(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call
    ) -> Any:
        from fastsa.profiler.assembly import signature

        def begin(recording: Recording) -> None:
            self._roots.setdefault(module)
            self._shape = self._shape or signature(args, kwargs)
            recording.forward((args, kwargs))

        self._watched(begin)
        return call()

    def _backward_called(self, tensors: tuple[torch.Tensor, ...], creates_graph: bool) -> None:
        if tensors:
            self._watched(lambda recording: recording.backward(tensors))

    def _optimizer_stepped(self, optimizer: Optimizer, args: object, kwargs: object) -> None:
        self._watched(lambda recording: recording.stepped(optimizer))


def profile(*models: nn.Module, device: torch.device | str | None = None) -> Session:
    """Record what a block of code does with memory and time::

        with fastsa.profile(model) as p:
            loss = model(x).sum()
            loss.backward()
        print(p.peak)
        p.report()

    `models` give allocations the names of their modules; models the block trains are found without.
    `device` is where the memory is, by default the current CUDA device if CUDA is in use, else the
    CPU. There is no graph to plan in the result: `profile_step` makes one.
    """
    return Session(models, _device(device))


def profile_step(step: Callable[[], object]) -> Profiled:
    """Profile a training step: what `fastsa-profile` does for a script. Calls `step` six times.

    The first call is a warm-up, two are timed, one is recorded, and in two the models that `step`
    trains are captured as graphs and measured op by op. They train on as usual meanwhile. What
    `step` raises passes through.
    """
    from fastsa.profiler.recorder import Recorder
    from fastsa.profiler.stages import Stage

    recorder = Recorder(Path(sys.argv[0]).name or "python", (), keep_running=True)
    with recorder:
        for _ in range(Stage.DONE):
            step()
            recorder.clock.end()
    result = Profiled()
    result._profile = recorder.profile()
    if result._profile is None:
        raise FastsaError(f"nothing was recorded: {recorder.shortfall()}", hint=HINT)
    return result


def _device(device: torch.device | str | None) -> torch.device:
    import torch

    if device is not None:
        return torch.device(device)
    if torch.cuda.is_initialized():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
