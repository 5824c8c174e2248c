"""Settings of a project and of a program's environment, as a training takes them."""

from __future__ import annotations

from support.paths import INSTALLED, SCRIPTS
from support.sandbox import CliSandbox


def test_a_script(sandbox: CliSandbox) -> None:
    """Without a flag: the budget is the project's."""
    inner = sandbox.folder / "project" / "inner"
    inner.mkdir(parents=True)
    settings = '[tool.fastsa]\nbudget = "90%"\ntime_limit = 0.2'
    (inner.parent / "pyproject.toml").write_text(settings)
    argv = [INSTALLED, "run", SCRIPTS / "plain.py"]
    done = sandbox.server.run(argv, sandbox.environment(), inner)
    assert done.returncode == 0, done.stderr
    assert "fastsa: plan made" in done.stderr


def test_the_backend(sandbox: CliSandbox) -> None:
    script = sandbox.folder / "script.py"
    script.write_text(
        "import torch; m = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.GELU());"
        "m = torch.compile(m, backend='fastsa'); m(torch.ones(4, 8)).sum().backward();"
        "from fastsa.runtime.dynamo_backend import _jobs; print([s.seed for s in _jobs])"
    )
    done = sandbox.start(script, FASTSA_BUDGET="1GiB", FASTSA_SEED="7").done()
    assert (done.returncode, done.stdout) == (0, "[7]\n"), done.stderr


def test_a_mistake_does_not_stop_a_program(sandbox: CliSandbox) -> None:
    script = sandbox.folder / "script.py"
    script.write_text(
        "import torch; m = torch.nn.Linear(8, 8);"
        "m = torch.compile(m, backend='fastsa', options={'budget': '1GiB'});"
        "m(torch.ones(4, 8)).sum().backward(); print('trained')"
    )
    done = sandbox.start(script, FASTSA_SEED="x").done()
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr
    assert done.stderr.count("FastsaWarning: training unplanned: FASTSA_SEED") == 1
