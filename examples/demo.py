"""The whole path on a real script: record it, plan it at half its memory, run it, compare.

python examples/demo.py [gpt|resnet] [--budget 50%]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from step_times import StepTimes

from fastsa.cache.store import Store
from fastsa.planner.budget import format_bytes
from fastsa.records.profile import Profile
from fastsa.records.run import Run

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / ".demo"
LOSS = re.compile(r"^step\s+\d+\s+loss (\S+)$", re.MULTILINE)


def run(*command: str) -> str:
    """Run a command of this environment, show it, and return what it printed."""
    print(f"\n$ {' '.join(command)}", flush=True)
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *command]
        if command[0] == "fastsa"
        else [sys.executable, *command[1:]],
        stdout=subprocess.PIPE,
        cwd=HERE.parent,
        env={**os.environ, "FASTSA_STORE": str(FOLDER / "store.db")},
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    if lines and command[1] != "plan":
        steps = len(LOSS.findall(done.stdout))
        print(f"{lines[0]}\n  ... {steps} steps" if steps else lines[0])
    elif lines:
        print(done.stdout, end="")
    print(f"[{time.monotonic() - start:.0f} s]", flush=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


def comparison(profile: Profile, job: Run, times: StepTimes, plain: str, planned: str) -> Table:
    """Before and after, predicted and measured."""
    table = Table(title="before and after", title_justify="left")
    for column in ("", "plain script", "planned: predicted", "planned: measured"):
        table.add_column(column, justify="right" if column else "left")
    measured = job.measured_peak_bytes or 0
    table.add_row(
        "peak",
        f"{format_bytes(profile.peak_bytes)} measured",
        format_bytes(job.predicted_peak_bytes),
        f"{format_bytes(measured)} = {measured / profile.peak_bytes:.1%} of the plain peak",
    )
    table.add_row(
        "step",
        f"{times.plain_seconds:.3f} s measured",
        f"{times.plain_seconds * (1 + times.predicted_extra):.3f} s",
        f"{times.planned_seconds:.3f} s",
    )
    table.add_row(
        "extra time",
        "",
        f"{times.predicted_extra:+.1%} (no plan below {times.least_extra:+.1%})",
        f"{times.measured_extra:+.1%}, between {times.quartiles[0]:+.1%} and "
        f"{times.quartiles[1]:+.1%} in half of {times.pairs} pairs of steps",
    )
    losses, again = LOSS.findall(plain), LOSS.findall(planned)
    same = "equal to the last bit" if losses == again and losses else "DIFFERENT"
    table.add_row("losses", f"{len(losses)} steps", "", f"{len(again)} steps, {same}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example", choices=["gpt", "resnet"], nargs="?", default="gpt")
    parser.add_argument("--budget", default="50%")
    args = parser.parse_args()
    script = f"examples/train_{args.example}.py"
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "store.db").unlink(missing_ok=True)

    run("fastsa", "profile", script)
    with Store.open(FOLDER / "store.db") as store:
        profile = store.profile(store.list_items("profile")[0].id)
    run("fastsa", "plan", profile.id()[:12], "--budget", args.budget)
    plain = run("python", script)
    planned = run("fastsa", "run", "--budget", args.budget, script)
    with Store.open(FOLDER / "store.db") as store:
        job = store.run(store.list_items("run")[0].id)
        plan = store.plan(job.plan)
    times = run("python", "examples/step_times.py", args.example, str(job.process_budget_bytes))

    console = Console()
    console.print()
    found = msgspec.json.decode(times.splitlines()[-1], type=StepTimes)
    console.print(comparison(profile, job, found, plain, planned))
    console.print(f"bound: {plan.lower_bound_assumes}")
    console.print(
        "extra time: plain and planned steps alternated in one process, so that a busy machine "
        "slows both; on your script: .venv/bin/fastsa --help"
    )
    if LOSS.findall(plain) != LOSS.findall(planned):
        raise SystemExit("the planned losses differ from the plain ones")


if __name__ == "__main__":
    main()
