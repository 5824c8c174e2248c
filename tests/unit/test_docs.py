"""Every link, field, command, option and table of the docs is what the code has."""

from __future__ import annotations

import re

import pytest
from msgspec import Struct

from fastsa.records import profile, timeline
from support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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


def test_the_examples_of_extending_apply() -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    patches = re.findall(r"```diff\n(.*?)```", page, re.DOTALL)
    changes = [
        each for patch in patches for each in re.split(r"^(?=--- )", patch, flags=re.M) if each
    ]
    for change in changes:
        header, *hunks = re.split(r"^@@.*\n", change, flags=re.M)
        name = header.splitlines()[0].removeprefix("--- a/")
        if name == "--- /dev/null":
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        for hunk in hunks:
            before = "".join(line[1:] for line in hunk.splitlines(keepends=True) if line[0] != "+")
            assert before in text, f"{name}: make the patch in docs/extending.md anew:\n{hunk}"
    assert len(patches) == 4
