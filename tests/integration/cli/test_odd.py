"""Scripts that do not know that their model is compiled, and what they may do all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.fork_server import Done
from support.paths import INSTALLED, SCRIPTS
from support.sandbox import CliSandbox, steps

OTHER_PLACES = ("measured", "partitioned")
QUICK = ("--budget", "60%", "--best-effort", "--time-limit", "0.2")


def planned(sandbox: CliSandbox, *arguments: str, **more: str) -> Done:
    done = sandbox.fastsa("run", *QUICK, "odd.py", *arguments, **more)
    assert done.stdout == sandbox.plain("odd.py", *arguments).stdout
    assert len(steps(done)) == 8
    return done


def warnings_of(done: Done) -> list[str]:
    return [line for line in done.stderr.splitlines() if "FastsaWarning" in line]


@pytest.mark.promise("script-freedom")
@pytest.mark.parametrize(
    "what",
    [
        "hooked",
        pytest.param("bad batch", marks=pytest.mark.nightly),
        pytest.param("schedule", marks=pytest.mark.nightly),
        pytest.param("unfrozen", marks=pytest.mark.nightly),
    ],
)
def test_it_goes_on_under_a_plan(sandbox: CliSandbox, what: str) -> None:
    done = planned(sandbox, what)
    assert done.returncode == 0
    assert warnings_of(done) == []
    assert "step(s) with plan made" in done.stderr


@pytest.mark.nightly
def test_unfrozen_in_the_step_that_would_be_recorded(sandbox: CliSandbox) -> None:
    """A later one is: its peak is measured, and nothing remains unplanned."""
    done = planned(sandbox, "unfrozen")
    assert " measured, " in done.stderr.split("trained")[1].splitlines()[1]


@pytest.mark.promise("tensor-subclass")
@pytest.mark.parametrize(
    "what",
    [
        "batch",
        pytest.param("late batch", marks=pytest.mark.nightly),
        pytest.param("target", marks=pytest.mark.nightly),
    ],
)
def test_tensors_of_another_class(sandbox: CliSandbox, what: str) -> None:
    done = planned(sandbox, what)
    assert done.returncode == 0
    assert all("subclass of torch.Tensor" in line for line in warnings_of(done))


@pytest.mark.promise("recompile-limit")
def test_compiled_too_often(sandbox: CliSandbox) -> None:
    """Then torch runs the model as it is: the budget is not kept, and that is said."""
    program = """
import torch
from fastsa.cli.main import main
from fastsa.runtime import launch
launch.RECOMPILE_LIMIT = torch._dynamo.config.recompile_limit = 3
main()
"""
    script = sandbox.folder / "limited.py"
    script.write_text(program)
    done = sandbox.start(script, "run", *QUICK, str(SCRIPTS / "odd.py"), "schedule").done()
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in warnings_of(done) if "compiled it too often" in line]
    assert "whatever the budget" in line


@pytest.mark.promise("script-freedom")
class TestWarningsAsErrors:
    def test_ours(self, sandbox: CliSandbox) -> None:
        """A warning of ours is none of the script's."""
        sandbox.place.mkdir()
        done = planned(sandbox, "strict")
        assert done.returncode == 0
        (line,) = warnings_of(done)
        assert "the store is not used" in line


@pytest.mark.promise("script-freedom")
@pytest.mark.parametrize(
    "where", ["planned", *(pytest.param(each, marks=pytest.mark.nightly) for each in OTHER_PLACES)]
)
def test_a_signal_while_it_is_planned(sandbox: CliSandbox, where: str) -> None:
    """What the handler raises reaches the script, whatever we were doing."""
    done = sandbox.fastsa(
        "run", "--budget", "50%", "--best-effort", "--time-limit", "5", "odd.py", "preempted", where
    )
    assert done.returncode == 99, done.stderr


@pytest.mark.promise("script-freedom")
@pytest.mark.parametrize("what", ["atexit", pytest.param("thread", marks=pytest.mark.nightly)])
@pytest.mark.nightly
def test_after_the_main_program(sandbox: CliSandbox, what: str) -> None:
    """Threads that still run, and functions at exit, find argv, path and `__main__`.

    In cold processes: a forked one's `__main__` is another at its end.
    """
    ended = [
        subprocess.run(
            [*command, str(SCRIPTS / "odd.py"), what],
            env=sandbox.environment(),
            capture_output=True,
            text=True,
        )
        for command in ([sys.executable], [str(INSTALLED), "run", *QUICK])
    ]
    assert [each.returncode for each in ended] == [0, 0], ended[1].stderr
    assert ended[0].stdout == ended[1].stdout
    assert f"late 42 ['{what}'] 7" in ended[1].stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["run", pytest.param("profile", marks=pytest.mark.nightly)])
def test_a_full_stderr(sandbox: CliSandbox, command: str) -> None:
    options = QUICK if command == "run" else ()
    with Path("/dev/full").open("w") as full:
        script = str(SCRIPTS / "plain.py")
        done = sandbox.start(INSTALLED, command, *options, script, stderr=full.fileno()).done()
    assert done.returncode == 0
    assert done.stdout
    assert command in sandbox.kinds()


@pytest.mark.parametrize(
    "option",
    [("--time-limit", "nan"), ("--time-limit", "inf"), ("--seed", str(2**64))],
    ids=lambda option: " ".join(option),
)
def test_senseless_options(sandbox: CliSandbox, option: tuple[str, str]) -> None:
    done = sandbox.fastsa("run", "--budget", "60%", *option, "odd.py", "none")
    assert (done.returncode, done.stdout) == (2, "")
    assert option[0] in done.stderr
