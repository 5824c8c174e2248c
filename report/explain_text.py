"""An explanation in a few sentences: the answer before the tables."""

from __future__ import annotations

from collections.abc import Iterator

from fastsa.planner.explain.explanation import Explanation
from fastsa.planner.explain.minimum import Minimum
from fastsa.planner.explain.order import OpRun
from fastsa.planner.explain.other_budgets import OtherBudget
from fastsa.report import text

WORTH_NAMING = 0.005  # of the peak
WORTH_SAVING = 0.0005  # of the step time


def of_op(target: str, module: str | None, source: str | None) -> str:
    """`aten.mm.default in layers.11.mlp (to/train.py:88)`, as far as it is known."""
    place = f" in {module}" if module else ""
    return target + place + (f" ({text.of_source(source)})" if source else "")


def of_run(run: OpRun) -> str:
    """A run of an op, with its place in the user's code."""
    return of_op(run.target, run.module, run.source)


def of_status(given: Explanation) -> str | None:
    """What is to be known of the budget before anything else, unless all is well."""
    if given.step_budget_bytes is None or given.status is None:
        return None
    budget = text.of_bytes(given.step_budget_bytes)
    if given.status == "infeasible":
        return (
            f"The budget of {budget} cannot be met: no order of this step needs less than"
            f" {text.of_bytes(given.minimum.bytes)}. There is no plan; what follows is about the"
            " unplanned step."
        )
    over = given.peak_bytes - given.step_budget_bytes
    if over > 0:
        return (
            f"This plan misses its budget of {budget} by {text.of_bytes(over)}: none within it was"
            " found, and none is proven impossible."
        )
    return None


def of_peak(given: Explanation) -> str:
    """Where the peak is, and what most of it is."""
    run = given.peak.op
    if run is None:
        return "There are no ops, so nothing is alive."
    again = ", a recomputation" if run.recomputation else ""
    order = "planned" if given.planned else "unplanned"
    positions = text.of_count(len(given.memory.bytes))
    where = (
        f"The {order} peak of {text.of_bytes(given.peak.bytes)} (predicted) comes in"
        f" {run.segment}, at {of_run(run)}: op {run.op}{again},"
        f" number {text.of_count(run.position + 1)} of the {positions} that run."
    )
    return " ".join([where, *_parts(given)])


def _parts(given: Explanation) -> Iterator[str]:
    large = [
        (text.of_share(each.bytes, given.peak.bytes), each.label)
        for each in given.peak.by_reason[:3]
        if each.bytes > WORTH_NAMING * given.peak.bytes
    ]
    if large:
        (share, label), *rest = large
        others = "".join(f", {share} {label}" for share, label in rest)
        yield f"{share} of it is {label}{others}."
    near = given.peak.near_positions - 1
    if near:
        runs = "ops are" if near > 1 else "op is"
        yield f"{text.of_count(near)} more {runs} within 1% of it."


def of_price(given: Explanation) -> str:
    """What the plan costs, gains, and could at best have cost."""
    unplanned = f"{text.of_bytes(given.base_peak_bytes)} of the unplanned step"
    if not given.planned:
        kept = text.of_bytes(given.kept.bytes)
        return (
            f"The unplanned step takes {text.of_seconds(given.base_seconds)} of op time (predicted)"
            f" and keeps {kept} from one segment for a later one. A plan can recompute it instead."
        )
    if given.peak_bytes == given.base_peak_bytes and not given.recomputed.count:
        return "Nothing is recomputed: this is as the step is without a plan."
    if not given.recomputed.count:
        return f"Nothing is recomputed. The peak is {_below(given)} the {unplanned}."
    ops = f"{text.of_count(given.recomputed.count)} ops run again, for"
    bound = ""
    if given.lower_bound_seconds:
        bound = (
            f" No plan within it adds less than {_extra(given, given.lower_bound_seconds)},"
            f" assuming {given.lower_bound_assumes}."
        )
    return (
        f"{ops} {_extra(given, given.extra_seconds)} more (predicted). This holds the peak"
        f" {_below(given)} the {unplanned}.{bound}"
    )


def _below(given: Explanation) -> str:
    return f"{text.of_bytes(given.base_peak_bytes - given.peak_bytes)} below"


def _extra(given: Explanation, seconds: float) -> str:
    return f"{text.of_seconds(seconds)} (+{text.of_share(seconds, given.base_seconds) or '0%'})"


def of_minimum(minimum: Minimum) -> str:
    """Which op sets the minimum, and when."""
    if minimum.target is None:
        return "Any budget can be met: there are no ops."
    op = f"op {minimum.op}, {of_op(minimum.target, minimum.module, minimum.source)}"
    least = f"No budget below {text.of_bytes(minimum.bytes)} can be met:"
    if minimum.when == "at the end of the step":
        return f"{least} at its end, the step's results are there, beside what {op}, touches."
    beside = any(part.role == "result" for part in minimum.parts)
    results = ", beside results that are there already" if beside else ""
    return f"{least} {op}, touches that much at once{results}."


def of_other_budgets(given: Explanation) -> Iterator[str]:
    """What the farthest other budgets would do."""
    if given.other_budgets:
        for other in (given.other_budgets[0], given.other_budgets[-1]):
            if other.change_bytes:
                yield _other(given, other)
    yield from _luck(given)


def _other(given: Explanation, other: OtherBudget) -> str:
    change = other.change_bytes
    amount = text.of_bytes(abs(change)) + (" more" if change > 0 else " less")
    amount += " than the minimum" if given.status == "infeasible" else ""
    amount += f" ({text.of_share(abs(change), given.base_peak_bytes)} of the unplanned peak)"
    if other.status == "infeasible":
        return f"With {amount} there can be no plan."
    if other.extra_seconds is None:
        return f"With {amount} no plan was found in this time."
    if other.saved_seconds is None or other.most_saved_seconds is None:
        return f"A plan with {amount} adds {_change(given, other.extra_seconds)} to the step."
    does, limit = ("saves", "at most") if change > 0 else ("costs", "at least")
    sentence = f"A plan with {amount} {does} {_change(given, other.saved_seconds)}"
    if change < 0 <= other.most_saved_seconds:
        return f"{sentence}."  # by the bound, a longer search might find one that costs nothing
    return f"{sentence}; any plan {limit} {text.of_seconds(abs(other.most_saved_seconds))}."


def _change(given: Explanation, seconds: float) -> str:
    return f"{text.of_seconds(abs(seconds))} ({text.of_share(abs(seconds), given.base_seconds)})"


def _luck(given: Explanation) -> Iterator[str]:
    """What came of searching on at the budget there is."""
    now = next((each for each in given.other_budgets if not each.change_bytes), None)
    if now is None or now.extra_seconds is None or given.step_budget_bytes != now.step_budget_bytes:
        return
    found = given.extra_seconds - now.extra_seconds
    if found > WORTH_SAVING * given.base_seconds and given.peak_bytes <= now.step_budget_bytes:
        yield (
            f"With the same budget, searching on saved {_change(given, found)}: plan again with a"
            " longer --time-limit."
        )
