"""`fastsa run`: train a script within a memory budget."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from fastsa.cli.errors import UserScript
from fastsa.cli.script_options import (
    cupy_option,
    cupy_pool,
    planning_options,
    quiet_torch,
    script_arguments,
)
from fastsa.cli.stderr import write_stderr
from fastsa.errors import FastsaError

if TYPE_CHECKING:
    from fastsa.runtime.decision import Decision
    from fastsa.runtime.job import Job
    from fastsa.runtime.launch import Launch


@click.command(
    "run",
    context_settings={
        "allow_interspersed_args": False,
        "help_option_names": ["-h", "--help"],
    },
)
@planning_options
@click.option(
    "--rank-timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for another rank.",
)
@cupy_option
@script_arguments
def command(
    module: bool,
    script: str,
    arguments: tuple[str, ...],
    budget: str,
    cupy_on_torch: bool,
    **options: Any,
) -> UserScript:
    """Train SCRIPT, run with ARGUMENTS, within a memory budget.

    The script runs unmodified, as with `python`, with its own exit code. Its model is captured at
    the first training step; the fastest stored plan that fits is used, or one is made.

    \b
    Example:
      fastsa run --budget 50% train.py --batch-size 8
    """
    from fastsa.planner.budget import parse
    from fastsa.runtime.settings import Settings

    settings = Settings(budget=parse(budget), **options)
    return partial(_run, settings, script, arguments, module, cupy_on_torch)


def _run(
    settings: Any, script: str, arguments: tuple[str, ...], module: bool, cupy_on_torch: bool
) -> None:
    quiet_torch()
    from fastsa.instrumentation.script import run_script
    from fastsa.report import out_of_memory
    from fastsa.report.ran import ending, sharded
    from fastsa.runtime.job import Host, Job, disabled
    from fastsa.runtime.launch import Launch

    if disabled():
        write_stderr("fastsa: switched off by FASTSA_DISABLE: training unplanned")
        run_script(script, arguments, module=module, for_good=True)
        return
    host = Host(
        command=(script, *arguments),
        can_replan=True,
        on_planned=lambda decision: _tell_plan(job, decision),
    )
    job = Job(settings, host)
    launch: Launch = Launch(job, script, arguments, module=module, for_good=True)
    process = os.getpid()
    try:
        with cupy_pool(cupy_on_torch):
            launch.run()
    finally:
        # A forked worker of the script ends here too; only the job itself has something to say,
        # unless there is an error of ours to tell instead.
        if os.getpid() == process and not isinstance(sys.exception(), FastsaError):
            run = job.record.run
            if not job.ranks.rank:
                for line in ending(tuple(job.decisions), run, launch.trained):
                    write_stderr(line)
                if launch.sharded and run is not None:
                    calls = [region.calls for region in job.compilation.planned]
                    write_stderr(sharded(calls, run.steps))
            if launch.shortage is not None:
                write_stderr(out_of_memory.summary(**vars(launch.shortage)))


def _tell_plan(job: Job, decision: Decision) -> None:
    from fastsa.report.ran import planned

    if not job.ranks.rank:  # the others have the same
        write_stderr(planned(decision))
