"""The worked examples of docs/extending.md, followed in a copy of the checkout."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from support.checkout import Checkout
from support.paths import ROOT

PAGE = ROOT / "docs" / "extending.md"
EXAMPLE = re.compile(r"^## (.*?)\n.*?```diff\n(.*?)```.*?```sh\n(.*?)```", re.DOTALL | re.MULTILINE)
EXAMPLES = {
    title: (patch, commands) for title, patch, commands in EXAMPLE.findall(PAGE.read_text())
}


@pytest.mark.parametrize("title", EXAMPLES)
def test_following_it(title: str, tmp_path: Path) -> None:
    patch, commands = EXAMPLES[title]
    checkout = Checkout(tmp_path)
    subprocess.run(["git", "apply"], cwd=checkout.root, input=patch, text=True, check=True)
    for line in commands.splitlines():
        program, *arguments = shlex.split(line)
        words = [str(checkout.python) if program == "python" else program, *arguments]
        done = subprocess.run(words, cwd=checkout.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
