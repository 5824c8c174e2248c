"""`fastsa profile` and `fastsa-profile`: record one real training step of a script."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastsa.cli.errors import UserScript, run_command
from fastsa.cli.script_options import (
    cupy_option,
    cupy_pool,
    quiet_torch,
    rank_in_environment,
    script_arguments,
)
from fastsa.cli.stderr import write_stderr
from fastsa.cli.store_option import store_option
from fastsa.errors import BadInput, FastsaError, reason

if TYPE_CHECKING:
    from fastsa.profiler.recorder import Recorder
    from fastsa.records.profile import Profile


@click.command(
    "profile",
    context_settings={
        "allow_interspersed_args": False,
        "help_option_names": ["-h", "--help"],
    },
)
@click.option(
    "--continue",
    "keep_running",
    is_flag=True,
    help="Do not stop the script after the recorded step.",
)
@click.option(
    "--rank",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Rank to record, if there are several.",
)
@store_option()
@cupy_option
@script_arguments
def command(
    keep_running: bool,
    rank: int,
    store: Path | None,
    cupy_on_torch: bool,
    module: bool,
    script: str,
    arguments: tuple[str, ...],
) -> UserScript:
    """Record one real training step of SCRIPT, run with ARGUMENTS.

    The script runs unmodified, as with `python`. It is stopped after six training steps, when
    everything is measured, unless --continue is given. With several ranks, one is recorded, the
    others run unchanged, and all stop after the same step.

    \b
    Example:
      fastsa profile train.py --batch-size 8
    """
    if rank != rank_in_environment():
        return partial(_accompany, keep_running, module, script, arguments)
    return partial(_profile, keep_running, store, cupy_on_torch, module, script, arguments)


def main() -> None:
    """Run `fastsa-profile` and exit."""
    run_command(command)


def _accompany(keep_running: bool, module: bool, script: str, arguments: tuple[str, ...]) -> None:
    """Run the script on a rank that is not recorded."""
    quiet_torch()
    from fastsa.instrumentation.script import StopScript, run_script
    from fastsa.instrumentation.synchronized_stop import SynchronizedStop

    with suppress(StopScript), nullcontext() if keep_running else SynchronizedStop():
        run_script(script, arguments, module=module, for_good=True)


def _profile(
    keep_running: bool,
    store: Path | None,
    cupy_on_torch: bool,
    module: bool,
    script: str,
    arguments: tuple[str, ...],
) -> None:
    from fastsa.cache.store import Store

    with Store.open(store) as opened:
        # An unusable one is better known before the script runs than after, and the script may
        # change the working directory.
        store = opened.path
    quiet_torch()
    from fastsa.instrumentation.script import StopScript, run_script
    from fastsa.instrumentation.synchronized_stop import SynchronizedStop
    from fastsa.profiler.recorder import Recorder

    together = SynchronizedStop()
    recorder = Recorder(
        script, arguments, keep_running=keep_running, progress=_progress, stop=together.end
    )
    process = os.getpid()
    try:
        with cupy_pool(cupy_on_torch), together, recorder:
            run_script(script, arguments, module=module, for_good=True)
    except StopScript:
        pass
    except BadInput:
        raise  # there is no such script
    except BaseException as ending:
        if os.getpid() == process:  # a worker the script has forked ends here too
            _keep_beside(ending, recorder, store)
        raise
    if os.getpid() == process:
        _keep(recorder, store)


def _keep_beside(ending: BaseException, recorder: Recorder, path: Path | None) -> None:
    """Keep what there is while the script's own exception is on its way out."""
    if isinstance(ending, SystemExit) and ending.code in (None, 0):
        _keep(recorder, path)
        return
    pressed = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not lose it
    try:
        _keep(recorder, path)
    except FastsaError as error:
        write_stderr(f"fastsa: the profile is not stored: {error.message}")
    except Exception as error:  # noqa: BLE001  without memory anything may fail
        write_stderr(f"fastsa: the profile is not stored: {reason(error)}")
    finally:
        signal.signal(signal.SIGINT, pressed)


def _keep(recorder: Recorder, path: Path | None) -> None:
    from fastsa.cache.store import Store
    from fastsa.report.recorded import summary

    _progress("")
    if recorder.shortage is not None:
        _keep_shortage(recorder.shortage, path)
    if recorder.note is not None:
        write_stderr(f"fastsa: {recorder.note}")
    profile = recorder.profile()
    if recorder.shortage is not None and (profile is None or not profile.regions):
        return  # all there is to tell is told
    if profile is None:
        write_stderr(f"fastsa: nothing recorded: {recorder.shortfall()}")
        return
    with Store.open(path) as store:
        identity = store.add_profile(profile)
    _share(profile)
    write_stderr(summary(profile, identity))


def _share(profile: Profile) -> None:
    from fastsa.cache.remote_session import remote_session
    from fastsa.planner.step import region_names

    in_step: tuple[str, ...] = ()
    if profile.step is not None:
        in_step = region_names(profile.step)
        remote_session().graph_made(profile.step)
    for region in profile.regions:
        if region.captured_hash not in in_step:
            remote_session().graph_made(region.graph, region.captured_hash)


def _keep_shortage(shortage: Profile, path: Path | None) -> None:
    from fastsa.cache.store import Store
    from fastsa.profiler.out_of_memory import requested_bytes
    from fastsa.report.out_of_memory import summary

    with Store.open(path) as store:
        identity = store.add_profile(shortage)
    requested = requested_bytes(shortage.ended or "")
    write_stderr(summary(shortage, identity, requested_bytes=requested))


def _progress(text: str) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[Kfastsa: {text}" if text else "\r\x1b[K")
        sys.stderr.flush()
