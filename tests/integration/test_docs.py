"""The docs' console sessions are run, and print what the pages say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from support.paths import INSTALLED, ROOT
from support.sandbox import CliSandbox

SESSIONS = re.compile(r"```console\n(.*?)```", re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK = ("README.md",)
VOLATILE = re.compile(r"[0-9a-f]{12}|─+|[-+]?\d[\d.,]*( [KMG]iB| B| ms| s|%)?")
ID = re.compile(r"\b[0-9a-f]{12}\b")


def sessions(page: Path) -> list[tuple[str, str]]:
    """(command, output below it) of a page's console blocks."""
    found = []
    for block in SESSIONS.findall(page.read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output.strip()))
    return found


def masked(text: str) -> list[str]:
    """Lines without what differs from run to run: numbers, ids, widths, spacing."""
    lines = [" ".join(VOLATILE.sub("#", line).split()) for line in text.splitlines()]
    return [line for line in lines if line]


def new_ids(wanted: str, printed: str) -> dict[str, str]:
    """By the ids that a page shows: those that were printed in their places."""
    lines = {line: ID.findall(raw) for raw in printed.splitlines() for line in masked(raw)}
    return {
        shown: new
        for raw in wanted.splitlines()
        for line in masked(raw)
        for shown, new in zip(ID.findall(raw), lines.get(line, []), strict=False)
    }


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[] if page.name in QUICK else [pytest.mark.nightly], id=page.name)
        for page in PAGES
        if sessions(page)
    ],
)
def test_console_sessions(page: Path, sandbox: CliSandbox) -> None:
    ids: dict[str, str] = {}
    for command, wanted in sessions(page):
        program, *arguments = shlex.split(ID.sub(lambda m: ids.get(m[0], m[0]), command))
        assert program == "fastsa", "console sessions show fastsa's own commands"
        done = sandbox.server.run([INSTALLED, *arguments], sandbox.environment(), ROOT)
        assert done.returncode == 0, done.stderr
        printed = masked(done.stdout + done.stderr)
        ids.update(new_ids(wanted, done.stdout + done.stderr))
        for line in masked(wanted.replace("\n...", "")):
            assert line in printed, f"`{command}` no longer prints {line!r}"
