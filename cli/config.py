"""`fastsa config`: what is set, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fastsa import config
from fastsa.cache import location
from fastsa.cache.remote import shown
from fastsa.config import SettingValue


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Print every setting and where its value comes from.

    A flag comes first, then the environment, then [tool.fastsa] in the nearest pyproject.toml that
    has it, then the user's file, then the default.
    """
    files = {"project": config.project_file(), "user": config.user_file()}
    values = {name: _told(name, value) for name, value in config.effective().items()}
    if as_json:
        named = {name: value._asdict() for name, value in values.items()}
        found = {name: str(path) for name, path in files.items() if path and path.exists()}
        click.echo(json.dumps({"files": found, "settings": named}))
        return
    rows = [(name, _text(value.value), value.source) for name, value in values.items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, text, source in rows:
        click.echo(f"{name:{widths[0]}}  {text:{widths[1]}}  {source}")
    click.echo()
    for name, path in files.items():
        click.echo(f"{name} file: {_place(path)}")


def _told(name: str, value: SettingValue) -> SettingValue:
    """As people may see it: where the store is by default, and no password."""
    if name == "store" and value.value is None:
        return SettingValue(str(location.default_path()), value.source)
    if name == "remote" and value.value is not None:
        return SettingValue(shown(value.value), value.source)
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    text = "-" if value is None else str(value)
    return text if text.isprintable() else repr(text)


def _place(path: Path | None) -> str:
    if path is None:
        return "none"
    return str(path) if path.exists() else f"{path} (not there)"
