"""The docs' console sessions are run, and every command and option is in docs/cli.md."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SESSIONS = re.compile(r"```console\n(.*?)```", re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
VOLATILE = re.compile(r"[0-9a-f]{12}|[-+]?\d[\d.,]*( [KMG]iB| B| ms| s|%)?")


def sessions(page: Path) -> list[tuple[str, str]]:
    """(command, output below it) of a page's console blocks."""
    found = []
    for block in SESSIONS.findall(page.read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output.strip()))
    return found


def masked(text: str) -> list[str]:
    """Lines without what differs from run to run: numbers, ids, spacing."""
    lines = [" ".join(VOLATILE.sub("#", line).split()) for line in text.splitlines()]
    return [line for line in lines if line]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if sessions(page)], ids=lambda page: page.name
)
def test_console_sessions(page: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "FASTSA_STORE": str(tmp_path / "store.db")}
    environment.pop("COLUMNS", None)  # pytest-xdist's workers have one; the pages have none
    for command, wanted in sessions(page):
        program, *arguments = shlex.split(command)
        assert program == "fastsa", "console sessions show fastsa's own commands"
        done = subprocess.run(
            [sys.executable, "-m", "fastsa", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed = masked(done.stdout + done.stderr)
        for line in masked(wanted.replace("\n...", "")):
            assert line in printed, f"`{command}` no longer prints {line!r}"


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_command_reference_is_up_to_date() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from make_cli_reference import reference
    finally:
        sys.path.pop(0)
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == reference(), "run python docs/make_cli_reference.py"
