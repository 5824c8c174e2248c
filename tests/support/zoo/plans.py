"""The plans that every model of the zoo is trained under."""

from __future__ import annotations

import random
from collections.abc import Callable

from fastsa.capture.joint_graph import BACKWARD, FORWARD, Capture
from fastsa.planner.plan import Plan
from fastsa.planner.solve import plan
from fastsa.runtime.selector import base_plan
from support.random_plans import measured, random_plan

Choose = Callable[[Capture], Plan]
ITERATIONS = 300


def at_random(captured: Capture) -> Plan:
    """Any order, and whatever it forgets made again: ops run many times."""
    return random_plan(captured.graph, random.Random(0), forget=0.3)


def everything_again(captured: Capture) -> Plan:
    """All of the forward that may run twice runs again, in its order, before the backward."""
    graph = captured.graph
    parts = [[op.id for op in graph.ops if op.segment == s] for s in range(len(graph.segments))]
    again = [op for op in parts[FORWARD] if graph.ops[op].recomputable]
    parts[BACKWARD] = again + parts[BACKWARD]
    starts = [sum(map(len, parts[:s])) for s in range(len(parts))]
    return measured(graph, [op for part in parts for op in part], starts)


def tightest(captured: Capture) -> Plan:
    """The one with the lowest peak that the planner finds: it recomputes the most."""
    least = base_plan(captured.graph).minimum_budget_bytes
    return plan(captured.graph, least, iterations=ITERATIONS, time_limit=600.0)


PLANS: dict[str, Choose] = {
    "at random": at_random,
    "everything again": everything_again,
    "the tightest": tightest,
}
