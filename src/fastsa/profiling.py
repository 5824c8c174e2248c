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
    """The record of a stretch of training, for people; `profile_step` returns one.

    Every member raises FastsaError while nothing is recorded.
    """

    def __init__(self) -> None:
        self._profile: Profile | None = None
        self._shortfall = "the recording has not ended"

    @property
    def profile(self) -> Profile:
        """The whole record; its bytes are those of the process on the device.

        Raises:
            FastsaError: Nothing was recorded; the message says why.
        """
        if self._profile is None:
            raise FastsaError(f"nothing was recorded: {self._shortfall}", hint=HINT)
        return self._profile

    @property
    def peak(self) -> int:
        """The measured peak in bytes: the most that the process had alive at a time on the device.

        Raises:
            FastsaError: Nothing was recorded.
        """
        return self.profile.peak_bytes

    def report(self, html: Path | str | None = None) -> None:
        """Print the profile as `fastsa show` does, or write it as an HTML page.

        Args:
            html: File of the page, as `fastsa report` writes it; None prints to stdout.

        Raises:
            BadInput: The page's folder does not exist, or plotly (extra `plots`) is not installed.
            FastsaError: Nothing was recorded, or the page cannot be written.
        """
        if html is not None:
            from fastsa.report.html import document
            from fastsa.report.html.subject import PageSubject

            document.write(PageSubject(self.profile.id(), self.profile), Path(html))
            return
        from fastsa.report import profile, profile_text, terminal

        terminal.show(profile_text.render(profile.summarize(self.profile.id(), self.profile)))

    def save(self, store: Path | None = None) -> str:
        """Add the profile to a store, where every command finds it.

        Args:
            store: File of the store; None is the user's, see `Store.open`.

        Returns:
            The profile's id: the sha256 of its document, in hexadecimal.

        Raises:
            BadInput: The profile cannot be stored: a number is not finite, or it is too large.
            FastsaError: Nothing was recorded.
            StoreUnusable: The store cannot be opened or written.
        """
        from fastsa.cache.store import Store

        with Store.open(store) as opened:
            return opened.add_profile(self.profile)


class Session(Profiled):
    """Records everything from the beginning of a `with` block to its end; made by `profile`.

    If the block raises, the session keeps what happened until then, and the exception passes
    through. If nothing can be recorded, there is one FastsaWarning, and the block runs all the
    same.

    Args:
        models: Modules that give allocations their names.
        device: The device whose allocations are recorded.
    """

    def __init__(self, models: Iterable[nn.Module], device: torch.device) -> None:
        super().__init__()
        self._roots = dict.fromkeys(models)
        self._device = device
        self._shape = ""
        self._recording: Recording | None = None
        self._hooks = ExitStack()

    def __enter__(self) -> Session:
        """Start recording; issue a FastsaWarning if somebody else is using torch's profiler."""
        from torch.optim.optimizer import register_optimizer_step_post_hook

        import fastsa.profiler.assembly  # noqa: F401  an import would be in the recording
        from fastsa.instrumentation.module_hooks import BackwardCalls, RootCalls
        from fastsa.profiler.recording import Recording

        try:
            self._recording = Recording(self._device, self._roots)
        except Exception as error:  # noqa: BLE001  a failure of ours must not stop the program
            self._failed(error)
            return self
        self._hooks.enter_context(RootCalls(self._root_called))
        self._hooks.enter_context(BackwardCalls(self._backward_called))
        handle = register_optimizer_step_post_hook(self._optimizer_stepped)
        self._hooks.callback(handle.remove)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Stop recording and read the result; an exception of the block passes through."""
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

    The result has no graph to plan: `profile_step` makes one. The recording uses
    `torch.profiler`, of which a process can run only one at a time.

    Args:
        *models: Modules that give allocations their names. Models that the block trains are
            found without being named.
        device: Where the memory is; None is the current CUDA device if CUDA is initialized, else
            the CPU.

    Returns:
        The context manager; it has the results when the block has ended.
    """
    return Session(models, _device(device))


def profile_step(step: Callable[[], object]) -> Profiled:
    """Profile a training step as `fastsa-profile` does for a script: calls `step` six times.

    Call 1 warms up; it is recorded as well, in case there is no other. Calls 2 and 3 are timed.
    Call 4 is recorded. Call 5 captures the models that `step` trains as graphs and measures each
    op alone. Call 6 records the memory between the captured graphs. Every call trains the models.
    Calls 5 and 6 run as torch's compiled graph: under autocast their last bits may differ from
    eager. A later call with other input shapes than the first is neither recorded nor captured.

    Args:
        step: One training step: forward, backward, optimizer. What it raises passes through.

    Returns:
        What was recorded; `profile.missing` says what is not there and why.

    Raises:
        FastsaError: Nothing was recorded, for example because `step` called no module with
            parameters in training mode.
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
