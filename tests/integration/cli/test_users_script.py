"""What a user's script raises, exits with and prints is the script's own; a bug is one line."""

from __future__ import annotations

import signal

import pytest

from support.fork_server import Done
from support.sandbox import CliSandbox

SCRIPTED = """
import sys, click
from fastsa.cli.errors import run_command
from fastsa.errors import InfeasibleBudget

def script():
    {script}

@click.command()
def command():
    return script

run_command(command, [])
"""


def run(sandbox: CliSandbox, code: str, **more: str) -> Done:
    program = sandbox.folder / "program.py"
    program.write_text(code)
    return sandbox.start(program, **more).done()


def run_script(sandbox: CliSandbox, script: str) -> Done:
    return run(sandbox, SCRIPTED.format(script=script))


class TestUsersScript:
    """What a script raises is the script's own."""

    def test_it_ends(self, sandbox: CliSandbox) -> None:
        done = run_script(sandbox, "print('trained')")
        assert (done.returncode, done.stdout, done.stderr) == (0, "trained\n", "")

    def test_exception(self, sandbox: CliSandbox) -> None:
        done = run_script(sandbox, "raise ValueError('mine')")
        assert done.returncode == 1
        assert done.stderr.startswith("Traceback (most recent call last):")
        assert done.stderr.endswith("\nValueError: mine\n")

    @pytest.mark.parametrize("code", [0, 7])
    def test_exit_code(self, sandbox: CliSandbox, code: int) -> None:
        assert run_script(sandbox, f"sys.exit({code})").returncode == code

    def test_exit_text(self, sandbox: CliSandbox) -> None:
        done = run_script(sandbox, "sys.exit('no data')")
        assert (done.returncode, done.stderr) == (1, "no data\n")

    @pytest.mark.parametrize("error", ["click.ClickException('x')", "EOFError()", "click.Abort()"])
    def test_exceptions_that_click_knows(self, sandbox: CliSandbox, error: str) -> None:
        done = run_script(sandbox, f"raise {error}")
        assert done.returncode == 1
        assert "Traceback" in done.stderr

    def test_interrupt(self, sandbox: CliSandbox) -> None:
        done = run_script(sandbox, "raise KeyboardInterrupt")
        assert done.returncode == -signal.SIGINT
        assert done.stderr.endswith("KeyboardInterrupt\n")

    def test_its_own_excepthook(self, sandbox: CliSandbox) -> None:
        done = run_script(sandbox, "sys.excepthook = lambda *a: print('hooked'); raise ValueError")
        assert (done.returncode, done.stdout) == (1, "hooked\n")

    def test_an_error_of_fastsa_is_one_line(self, sandbox: CliSandbox) -> None:
        done = run_script(sandbox, "raise InfeasibleBudget('too small', hint='give more')")
        assert (done.returncode, done.stderr) == (3, "fastsa: too small. Give more\n")


class TestBugs:
    CODE = """
import click
from fastsa.cli.errors import run_command

@click.command()
def command():
    raise ZeroDivisionError("oops")

run_command(command, [])
"""

    def test_one_line(self, sandbox: CliSandbox) -> None:
        done = run(sandbox, self.CODE)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "this is a bug in fastsa: ZeroDivisionError: oops" in done.stderr

    def test_where(self, sandbox: CliSandbox) -> None:
        done = run(sandbox, self.CODE, FASTSA_DEBUG="1")
        assert done.returncode == 1
        assert "Traceback" in done.stderr


CHAINED = """
def inner():
    return {}["key"]

def outer():
    try:
        inner()
    except KeyError as error:
        raise ValueError("mine") from error

outer()
"""
WRONG_SHAPE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.second(self.first(x).relu())

net = Net()
optimizer = torch.optim.Adam(net.parameters())
for width in WIDTHS:
    optimizer.zero_grad()
    net(torch.ones(2, width)).sum().backward()
    optimizer.step()
"""


class TestTraceback:
    """What is shown of a script's error is what `python` shows: frames of ours are left out."""

    def shown(self, sandbox: CliSandbox, code: str) -> tuple[list[str], list[str]]:
        """What python shows from the script's first frame on, and what `fastsa run` shows."""
        script = sandbox.folder / "wrong.py"
        script.write_text(code)
        plain = sandbox.start(script).done()
        options = ("--budget", "90%", "--best-effort", "--time-limit", "0.2")
        ours = sandbox.fastsa("run", *options, str(script))
        assert plain.returncode == ours.returncode == 1
        assert "During handling" not in ours.stderr
        head = f'  File "{script}"'
        texts = [done.stderr[done.stderr.index(head) :] for done in (plain, ours)]
        before = ours.stderr.partition(head)[0].splitlines()
        assert all(line.startswith(("fastsa: ", "  ", "Traceback")) for line in before), before
        return texts[0].splitlines(), texts[1].splitlines()

    def test_and_of_what_led_to_it(self, sandbox: CliSandbox) -> None:
        plain, ours = self.shown(sandbox, CHAINED)
        own = [line for line in plain if "in run" not in line and "runpy" not in line]
        assert len(ours) <= len(own)
        wanted = [line for line in plain if "wrong.py" in line or "Error" in line]
        assert [line for line in ours if "wrong.py" in line or "Error" in line] == wanted
        assert not any("/fastsa/" in line for line in ours)

    @pytest.mark.parametrize("widths", [(5,), (4, 4, 5)], ids=["at first", "later"])
    def test_a_wrong_shape_costs_no_more_lines(
        self, sandbox: CliSandbox, widths: tuple[int, ...]
    ) -> None:
        plain, ours = self.shown(sandbox, f"WIDTHS = {widths}\n{WRONG_SHAPE}")
        assert len(ours) == len(plain)
        assert ours[-1] == plain[-1]
        assert "mat1 and mat2 shapes" in ours[-1]
        assert not any("/fastsa/" in line for line in ours)
