"""`fastsa check`: hold planned steps of a script against unplanned ones, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from fastsa.cli.script_options import cupy_option, planning_options, script_arguments
from fastsa.report import verdict as report


@click.command(
    "check",
    context_settings={
        "allow_interspersed_args": False,
        "help_option_names": ["-h", "--help"],
    },
)
@planning_options
@click.option(
    "--steps",
    type=click.IntRange(3, 10_000),
    default=3,
    show_default=True,
    help="Training steps to compare.",
)
@click.option("--ops", is_flag=True, help="Compare every op, even if all steps are identical.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@cupy_option
@script_arguments
def command(as_json: bool, budget: str, store: Path | None, **options: Any) -> int:
    """Check that SCRIPT, run with ARGUMENTS, computes the same bits within a memory budget.

    The script is started three times or more, as with `python`, and stopped after some steps:
    planned, as it is, and compiled without a plan. Losses, gradients, parameters and buffers are
    compared bit for bit, and peak and step time are measured. The verdict is stored with the plan.

    Ends with 0 if the planned steps are identical to the compiled ones and within the budget,
    else with 1.

    \b
    Example:
      fastsa check --budget 50% train.py --batch-size 8
    """
    from fastsa.cache.store import Store
    from fastsa.planner.budget import parse
    from fastsa.runtime.equivalence.check import check
    from fastsa.runtime.equivalence.trace import Assignment

    parse(budget)
    with Store.open(store) as opened:
        task = Assignment(budget=budget, store=str(opened.path), **options)
        verdicts = check(task, lambda text: click.echo(f"fastsa: check: {text}", err=True))
        ids = [opened.add_verdict(each) if each.plan else None for each in verdicts]
    _tell(report.summarize(ids[0], verdicts[0]), as_json)
    return 0 if verdicts[0].holds else 1


def _tell(shown: report.VerdictReport, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(shown))
        return
    from fastsa.report import terminal

    terminal.show(report.render(shown))
