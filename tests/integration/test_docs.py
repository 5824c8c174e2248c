"""The docs' console sessions are run, and every command and option is in docs/cli.md."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import Struct

from fastsa.profiler import profile, timeline
from support.paths import ROOT

SESSIONS = re.compile(r"```console\n(.*?)```", re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
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
    "page", [page for page in PAGES if sessions(page)], ids=lambda page: page.name
)
def test_console_sessions(page: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "FASTSA_STORE": str(tmp_path / "store.db")}
    environment.pop("COLUMNS", None)  # pytest-xdist's workers have one; the pages have none
    ids: dict[str, str] = {}
    for command, wanted in sessions(page):
        program, *arguments = shlex.split(ID.sub(lambda m: ids.get(m[0], m[0]), command))
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
        ids.update(new_ids(wanted, done.stdout + done.stderr))
        for line in masked(wanted.replace("\n...", "")):
            assert line in printed, f"`{command}` no longer prints {line!r}"


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_field_of_a_profile_is_in_its_format() -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    section = page.partition("## fastsa.profile/2")[2].partition("\n## ")[0]
    kinds = [getattr(module, name) for module in (profile, timeline) for name in dir(module)]
    structs = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Struct)]
    fields = {
        field
        for struct in structs
        if struct.__module__ in (profile.__name__, timeline.__name__)
        for field in struct.__struct_fields__
    }
    assert len(fields) > 50
    assert {each for each in fields if not re.search(rf"\b{each}\b", section)} == set()


def test_the_command_reference_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    from make_cli_reference import reference

    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == reference(), "run python docs/make_cli_reference.py"


def test_the_stores_tables_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    from make_store_schema import document

    written = (ROOT / "docs" / "store_schema.md").read_text(encoding="utf-8")
    assert written == document(), "run python docs/make_store_schema.py"
