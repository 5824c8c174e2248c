"""The baselines: how others choose what to recompute, written anew from their papers, to compare.

Each is an `algorithm` of `fastsa.planner.solve.plan`. Most need OR-Tools, which the extra
`baselines` brings; nothing of it is imported before a baseline is asked for.
"""

from __future__ import annotations

import importlib.util

# name -> module of this package, whose `find` is the baseline
BASELINES = {
    "checkmate-milp": "checkmate_milp",
    "checkmate-lp": "checkmate_lp",
    "retention-intervals": "retention_intervals",
    "torch-knapsack": "torch_knapsack",
    "checkpoint-every-block": "checkpoint_every_block",
}
WITHOUT_ORTOOLS = frozenset({"checkpoint-every-block"})


def installed(name: str) -> bool:
    """Whether all that the baseline needs is there."""
    return name in WITHOUT_ORTOOLS or importlib.util.find_spec("ortools") is not None
