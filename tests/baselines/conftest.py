"""The rivals are tried on the planner's graphs, and held against its slow memory model."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "planner"))
