"""What a compiler changes if nobody looks after it: under a plan, the plain script's numbers."""

from __future__ import annotations

import pytest

from support.fork_server import Done
from support.paths import SCRIPTS
from support.sandbox import CliSandbox, steps

QUICK = ("--budget", "70%", "--best-effort", "--time-limit", "0.2")


def planned(sandbox: CliSandbox, *script: str) -> Done:
    """A planned run that printed what the plain one did."""
    done = sandbox.fastsa("run", *QUICK, *script)
    assert done.returncode == 0, done.stderr
    assert done.stdout == sandbox.plain(*script).stdout
    assert len(steps(done)) == 6
    return done


def warnings_of(done: Done) -> list[str]:
    return [line for line in done.stderr.splitlines() if "FastsaWarning" in line]


@pytest.mark.promise("eager-bits")
@pytest.mark.parametrize(
    "what",
    [
        "unread draws",
        "asks is_compiling",
        "compiles itself, asks is_compiling",
        "one_hot",
        "interpolate",
        "exact head",
        "exact head, backward inside",
        "lazy parameters",
        "own backward in torch.func",
        "global hook",
        "evaluates",
    ],
)
def test_the_plain_scripts_numbers(sandbox: CliSandbox, what: str) -> None:
    done = planned(sandbox, "faithful.py", what)
    assert "trained 6 step(s) with plan made" in done.stderr or "lazy" in what
    assert "unplanned:" not in done.stderr


@pytest.mark.promise("plainly-unplanned")
def test_what_would_see_the_plan_is_left_alone(sandbox: CliSandbox) -> None:
    done = planned(sandbox, "faithful.py", "saved_tensors_hooks")
    (warning,) = warnings_of(done)
    assert "trains unplanned: it is called under saved_tensors_hooks" in warning


@pytest.mark.promise("second-order")
@pytest.mark.parametrize("script", [("penalty_always.py",), ("penalty.py", "twice")])
def test_gradients_of_gradients_are_found_out_in_time(
    sandbox: CliSandbox, script: tuple[str, ...]
) -> None:
    done = planned(sandbox, *script)
    (warning,) = warnings_of(done)
    assert "trains unplanned: gradients of gradients are taken" in warning


@pytest.mark.promise("second-order")
def test_a_script_that_could_but_does_not_is_planned(sandbox: CliSandbox) -> None:
    done = planned(sandbox, "penalty.py", "once")
    assert "trained 5 step(s) with plan made" in done.stderr
    assert "gradients of gradients" not in done.stderr


@pytest.mark.promise("tracing-limit")
def test_a_trace_that_takes_too_long(sandbox: CliSandbox) -> None:
    """The call is made again as it is, from the same generator state."""
    program = sandbox.folder / "limited.py"
    program.write_text(
        "from fastsa.capture import faithful\n"
        "from fastsa.cli.main import main\n"
        "faithful.TRACING_SECONDS = 0.01\n"
        "main()\n"
    )
    done = sandbox.start(program, "run", *QUICK, str(SCRIPTS / "unrolls.py")).done()
    assert done.returncode == 0, done.stderr
    assert done.stdout == sandbox.plain("unrolls.py").stdout
    (warning,) = warnings_of(done)
    assert "trains unplanned: tracing it takes more than 0.01 s" in warning
