"""Bytes and seconds in numbers that solvers bear: small integers, and never to our favour."""

from __future__ import annotations

import math

from fastsa.planner.graph import Graph

FINEST = 100_000  # of the budget: solvers calculate with about six digits


class Units:
    """Sizes in a common unit, rounded up; the budget rounded down: what fits in units, fits."""

    def __init__(self, graph: Graph, budget_bytes: int) -> None:
        sizes = [value.bytes for value in graph.values]
        sizes += [op.workspace_bytes for op in graph.ops]
        unit = max(math.gcd(*sizes), -(-budget_bytes // FINEST), 1)
        self.budget = budget_bytes // unit
        self.values = [-(-value.bytes // unit) for value in graph.values]
        self.workspaces = [-(-op.workspace_bytes // unit) for op in graph.ops]


def relative_costs(graph: Graph) -> list[float]:
    """Each op's seconds in shares of the mean, so that all are near 1."""
    mean = graph.base_seconds / max(len(graph.ops), 1)
    return [op.seconds / mean if mean else 0.0 for op in graph.ops]
