"""Where things are in a checkout."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
SCRIPTS = TESTS / "scripts"
SUPPORT = TESTS / "support"
EXAMPLES = ROOT / "examples"
GRAPHS = ROOT / "benchmarks" / "graphs"
INSTALLED = Path(sys.executable).parent / "fastsa"
