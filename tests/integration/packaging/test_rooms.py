"""The rooms of the package are no modules of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.paths import ROOT

ROOMS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


def test_no_room_is_importable_by_its_folder_name(tmp_path: Path) -> None:
    code = f"import importlib.util; print([*map(importlib.util.find_spec, {ROOMS!r})])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ROOMS
    assert done.stdout.strip() == str([None] * len(ROOMS))
