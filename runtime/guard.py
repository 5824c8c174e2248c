"""Guard: a measured peak held against its prediction, and the margin that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from fastsa.cache.store import Store
from fastsa.errors import StoreUnusable
from fastsa.planner.budget import format_bytes
from fastsa.records.margin import Margin, grown, tolerance
from fastsa.runtime.decision import Decision


class Guard:
    """Of one job. The margin is stored once the peak is measured: the job may not end well."""

    def __init__(self, store: Path | None) -> None:
        self.store = store
        self.margin: Margin | None = None  # that this job has set

    def measured(
        self, decisions: Sequence[Decision], peak_bytes: int, *, is_recorded: bool = False
    ) -> str | None:
        """What is to be said of a measured peak; the next start may have another margin.

        The peak of a step of several decisions is the fault of none of them: no margin follows.
        Neither does one where the step `is_recorded` as it was: the next start knows it.
        """
        decision = max(decisions, key=lambda d: d.predicted_peak_bytes)
        known = decision.margin_bytes + decision.unkept_margin_bytes
        following = grown(known, decision.predicted_peak_bytes, peak_bytes, _most(decision))
        if following != known and len(decisions) == 1 and not is_recorded:
            self._keep(_margin(decision, following))
        return _said(decision, peak_bytes, self._following(is_recorded))

    def _following(self, is_recorded: bool) -> str:
        if is_recorded:
            return "the next start plans the step as it was recorded"
        if self.margin is None:
            return "record a profile of this job"
        size = format_bytes(self.margin.bytes)
        return f"the next start keeps {size} free; record a profile of this job"

    def ran(self, store: Store, run_id: str) -> None:
        """The run that set the margin is in the store."""
        if self.margin is not None:
            store.set_margin(msgspec.structs.replace(self.margin, run=run_id))

    def _keep(self, margin: Margin) -> None:
        try:
            with Store.open(self.store) as store:
                store.set_margin(margin)
        except StoreUnusable:
            return  # which the job has been told of when it looked for its plan
        self.margin = margin


def _most(decision: Decision) -> int:
    """Half of what the budget leaves for the step."""
    return max(0, decision.process_budget_bytes - decision.resident_bytes) // 2


def _margin(decision: Decision, size: int) -> Margin:
    return Margin(
        schema="fastsa.margin/1",
        graph=decision.graph.hash(),
        device=decision.device,
        bytes=size,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _said(decision: Decision, peak: int, following: str) -> str | None:
    predicted = decision.predicted_peak_bytes
    is_expected = peak <= predicted + decision.margin_bytes + tolerance(predicted)
    is_over_budget = decision.plan.fits and peak > decision.process_budget_bytes
    if is_expected and not is_over_budget:
        return None
    over = [] if is_expected else [f"{format_bytes(peak - predicted)} above the predicted one"]
    if is_over_budget:
        over.append(f"above the budget of {format_bytes(decision.process_budget_bytes)}")
    return f"the measured peak, {format_bytes(peak)}, is {' and '.join(over)}: {following}"
