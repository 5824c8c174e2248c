"""The `fastsa` command: one file per subcommand, imported when it is called."""

from __future__ import annotations

import importlib
from keyword import iskeyword

import click

from fastsa import config
from fastsa.cli.errors import run_command
from fastsa.version import __version__

COMMANDS = {
    "profile": "Record one real training step of a script.",
    "run": "Train a script within a memory budget.",
    "check": "Compare planned training steps with unplanned ones, bit for bit.",
    "plan": "Find the fastest schedule of a graph within a budget.",
    "explain": "Explain the peak of a step or plan.",
    "curve": "Find the fastest schedules at every budget, in one run.",
    "compare": "Compare fastsa with other algorithms for recomputation.",
    "list": "List what is stored.",
    "show": "Show a profile, graph, plan, run or verdict.",
    "report": "Draw a profile's memory and time as one HTML file.",
    "diff": "Show how two profiles differ.",
    "export": "Write a stored graph, plan, profile, run or verdict to a file.",
    "import": "Store a profile from a file: PyTorch's memory snapshot, or fastsa's own.",
    "rm": "Remove items from the store, with all that depend on them.",
    "store": "Manage the store: check, shrink, copy and share it.",
    "daemon": "Make and improve plans in the background.",
    "config": "Print every setting and where its value comes from.",
    "doctor": "Diagnose this machine: torch, GPU, store, disk and daemon.",
}
CONFIGURED = ("run", "check", "plan", "curve", "daemon")


class Lazy(click.Group):
    """Knows its commands' names and helps without importing them, so that help is at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The `command` of `fastsa.cli.NAME`, or `NAME_` where Python has the name for itself."""
        if name not in COMMANDS:
            return None
        module = f"fastsa.cli.{name}_" if iskeyword(name) else f"fastsa.cli.{name}"
        try:
            command = importlib.import_module(module).command
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise click.UsageError(f"'{name}' is not part of this installation") from error
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands' lines of the help."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fastsa")
@click.pass_context
def group(context: click.Context) -> None:
    """Give a PyTorch training script a memory budget; get the fastest schedule that fits.

    \b
    fastsa profile train.py           record one step
    fastsa run --budget 50% train.py  train within half of the memory
    """
    if context.invoked_subcommand in CONFIGURED:
        context.default_map = config.of_commands()


def main() -> None:
    """Run the command line and exit."""
    run_command(group)
