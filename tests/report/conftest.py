from __future__ import annotations

import sys
from pathlib import Path

for _room in ("cache", "cli"):
    sys.path.insert(0, str(Path(__file__).parent.parent / _room))
