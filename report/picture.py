"""Picture files: whether one can be drawn, before anything is computed for it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from fastsa.errors import BadInput

FORMATS = (".svg", ".png")


def check(path: Path) -> None:
    """Raises BadInput if none can be drawn to `path`: its ending, its folder, or no matplotlib."""
    if path.suffix.lower() not in FORMATS:
        raise BadInput(
            f"{path}: pictures are SVG or PNG", hint=f"end its name in {' or '.join(FORMATS)}"
        )
    if not path.parent.is_dir():
        raise BadInput(f"{path}: there is no folder {path.parent}", hint="make it first")
    if importlib.util.find_spec("matplotlib") is None:
        raise BadInput(
            "pictures need matplotlib, which is not installed",
            hint="run pip install 'fastsa[plots]'",
        )
