"""Ranks: the processes of one job take the same plan for each region, or none of them takes one.

Gradients are the same to the last bit under any plan, so this is about equal step times and about
what a user can rely on, never about correctness. No rank waits for another without a bound.

In the first step the ranks agree on each region: each says which graph it has and what it holds,
rank 0 finds or makes the plan, all check it, and the first outcome in the store counts for all.
Later a graph may be met by some ranks only (a smaller last batch): then nobody waits for the
others. Whoever meets the graph first plans it, and those who meet it as well take that plan.
"""

from __future__ import annotations

import itertools
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec
import torch

from fastsa.capture.joint_graph import EAGER
from fastsa.errors import FastsaError, IllegalPlan, InfeasibleBudget, reason
from fastsa.instrumentation.device import available_bytes
from fastsa.instrumentation.rank_store import RankStore, find_rank_store
from fastsa.instrumentation.storages import live_bytes, pending_optimizer_bytes
from fastsa.planner import graph as graphs
from fastsa.planner.graph import Graph
from fastsa.planner.step import calls_of, region_names, segments_of
from fastsa.planner.validation import validate
from fastsa.runtime.decision import Decision
from fastsa.runtime.selector import ALONE, Needs

PLANNING = 5
"""A plan is waited for this many times as long as a rank, and the planner's time limit."""

_jobs = itertools.count()


class RankReport(msgspec.Struct, frozen=True):
    """What one rank says of itself: its graph's hash, bytes it holds, bytes it may have."""

    graph: str
    resident_bytes: int
    free_bytes: int | None


class PlanProposal(msgspec.Struct, frozen=True):
    """What rank 0 proposes: a decision, or why no plan meets the budget (message, hint)."""

    decision: Decision | None
    infeasible: tuple[str, str] | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What counts for all: whether the region is planned; if not, which rank said so, and why."""

    planned: bool
    rank: int
    why: str = ""


class Disagreement(FastsaError):
    """The ranks have no plan in common. `is_reported` if a rank has said so to the user already."""

    def __init__(self, why: str, *, is_reported: bool) -> None:
        super().__init__(why, hint="see docs/distributed.md")
        self.is_reported = is_reported


MakeReport = Callable[[str], RankReport]
Decide = Callable[[Needs], Decision]


class PlanAgreement(Protocol):
    """One region, seen from one rank."""

    def decision(self, graph: Graph, report: MakeReport, decide: Decide) -> Decision:
        """The decision for the region. Raises Disagreement and InfeasibleBudget.

        `report` says what this rank has, given its graph's hash; `decide` finds or makes a plan
        that suits all.
        """

    def close(self) -> None:
        """This rank can run the plan. Raises Disagreement if another one cannot."""

    def refuse(self, why: str) -> Disagreement:
        """This rank cannot run the plan: what to raise."""


class Ranks:
    """The ranks of one job. `timeout` is seconds to wait for another rank, `time_limit` for a plan.

    Every rank makes its jobs in the same order.
    """

    def __init__(self, timeout: float, time_limit: float) -> None:
        self.timeout = timeout
        self.patience = PLANNING * timeout + time_limit
        self._has_trained = False
        self.refusal: str | None = None
        self.regions = 0
        self._name = f"job {next(_jobs)}"
        self._known: RankStore | None = None

    def trained(self) -> None:
        """A backward has run: the ranks are past their first step."""
        self._has_trained = True

    def store(self) -> RankStore | None:
        """What the ranks of this job share, None if there is one rank."""
        self._known = find_rank_store(self._name) or self._known
        return self._known

    @property
    def rank(self) -> int:
        """This process's rank; what torchrun says as long as there is no process group."""
        if self._known is not None:
            return self._known.rank
        rank = os.environ.get("RANK", "")
        return int(rank) if rank.isdecimal() else 0

    @contextmanager
    def agreement(self) -> Iterator[PlanAgreement]:
        """In it a rank gets its decision and makes what it needs to run it.

        An exception that leaves the block is a refusal by this rank, and becomes a Disagreement.
        Once the ranks have disagreed they do not try again.
        """
        store = self.store()
        if store is None:
            yield SingleRank()
            return
        if self.refusal is not None:
            raise Disagreement(self.refusal, is_reported=True)
        agreed = LaterAgreement(self, store) if self._has_trained else FirstAgreement(self, store)
        try:
            yield agreed
            agreed.close()
        except (Disagreement, InfeasibleBudget):
            raise
        except Exception as error:
            raise agreed.refuse(f"rank {store.rank}: {reason(error)}") from error
        except BaseException:
            agreed.refuse(f"rank {store.rank} was interrupted")
            raise

    def is_first_to_say(self, text: str) -> bool:
        """Whether no other rank has said the same."""
        try:
            store = self.store()
            who = "" if store is None else store.claim(f"said/{text}", str(store.rank))
            return store is None or who == str(store.rank)
        except RuntimeError:
            return True

    def leave(self, why: str) -> None:
        """This rank agrees to nothing any more: the others need not wait."""
        try:
            store = find_rank_store(self._name)
            if store is not None and not self.regions:
                store.put(f"absent/{store.rank}", why.encode())
        except RuntimeError:
            return  # then they wait


class SingleRank:
    """A job of one process."""

    def decision(self, graph: Graph, report: MakeReport, decide: Decide) -> Decision:
        """What is decided here."""
        return decide(ALONE)

    def close(self) -> None:
        """Nobody else is concerned."""

    def refuse(self, why: str) -> Disagreement:
        """Never called: there is nobody to disagree with."""
        return Disagreement(why, is_reported=False)


class _SharedAgreement:
    """An agreement whose messages are at `place` in the store that the ranks share."""

    def __init__(self, ranks: Ranks, store: RankStore, place: str) -> None:
        self.ranks = ranks
        self.store = store
        self.place = place

    @property
    def proposal(self) -> str:
        return f"{self.place}/proposal"

    @property
    def outcome(self) -> str:
        return f"{self.place}/outcome"

    def propose(self, decide: Callable[[], Decision]) -> Decision:
        """Decide and let the others know. Raises InfeasibleBudget when they know."""
        try:
            decision = decide()
        except InfeasibleBudget as error:
            self._put(PlanProposal(None, (error.message, error.hint)))
            raise
        self._put(PlanProposal(decision))
        return decision

    def _put(self, proposal: PlanProposal) -> None:
        self.store.put(self.proposal, zlib.compress(msgspec.json.encode(proposal)))

    def accept_proposal(self, graph: Graph) -> Decision:
        """The decision of the rank that decides, checked against this rank's own graph."""
        if not self.wait_for(self.proposal, seconds=self.ranks.patience):
            raise self.refuse(f"no plan came within {self.ranks.patience:g} s")
        content = zlib.decompress(self.store.read(self.proposal))
        proposal = msgspec.json.decode(content, type=PlanProposal)
        if proposal.decision is None:
            message, hint = proposal.infeasible or ("there is no plan", "see rank 0")
            raise InfeasibleBudget(message, hint=hint)
        check(proposal.decision, graph)
        return proposal.decision

    def wait_for(self, *names: str, seconds: float) -> str | None:
        """The first of the notes that is there. Raises Disagreement if another rank refuses."""
        found = self.store.wait(*names, self.outcome, seconds=seconds)
        if found == self.outcome:
            raise self.disagreement(self.read_outcome())
        return found

    def read_outcome(self) -> Outcome:
        """What the first rank to say has said; this rank says "unplanned" if none has."""
        unanswered = Outcome(False, self.store.rank, "not all ranks have answered in time")
        return self._claim(unanswered)

    def refuse(self, why: str) -> Disagreement:
        """Say that the region is to be trained unplanned, for all ranks."""
        outcome = Outcome(False, self.store.rank, why)
        try:
            return self.disagreement(self._claim(outcome))
        except RuntimeError:
            return self.disagreement(outcome)  # the store is gone, the others will notice too

    def _claim(self, outcome: Outcome) -> Outcome:
        found = self.store.claim(self.outcome, msgspec.json.encode(outcome).decode())
        return msgspec.json.decode(found, type=Outcome)

    def disagreement(self, outcome: Outcome) -> Disagreement:
        return Disagreement(outcome.why, is_reported=outcome.rank != self.store.rank)


class FirstAgreement(_SharedAgreement):
    """An agreement of all ranks, in the first step."""

    def __init__(self, ranks: Ranks, store: RankStore) -> None:
        super().__init__(ranks, store, f"region {ranks.regions}")
        ranks.regions += 1

    def decision(self, graph: Graph, report: MakeReport, decide: Decide) -> Decision:
        """Rank 0 decides once it has the others' reports."""
        own = report(graph.hash())
        self.store.put(self.report_of(self.store.rank), msgspec.json.encode(own))
        if self.store.rank:
            self.wait_for_rank(0, self.ranks.timeout)
            return self.accept_proposal(graph)
        needs = self.gather(own)
        return self.propose(lambda: decide(needs))

    def report_of(self, rank: int) -> str:
        return f"{self.place}/report/{rank}"

    def wait_for_rank(self, rank: int, seconds: float) -> None:
        absent = f"absent/{rank}"
        found = self.wait_for(self.report_of(rank), absent, seconds=seconds)
        if found is None:
            raise self.refuse(
                f"rank {rank} did not come to this part of the model within "
                f"{self.ranks.timeout:g} s"
            )
        if found == absent:
            raise self.refuse(f"rank {rank}: {self.store.read(absent).decode()}")

    def gather(self, own: RankReport) -> Needs:
        """What a plan has to respect on all ranks. Raises Disagreement if graphs differ."""
        deadline = time.monotonic() + self.ranks.timeout
        reports = [own]
        for rank in range(1, self.store.ranks):
            self.wait_for_rank(rank, max(0.0, deadline - time.monotonic()))
            content = self.store.read(self.report_of(rank))
            reports.append(msgspec.json.decode(content, type=RankReport))
        others = [rank for rank, each in enumerate(reports) if each.graph != own.graph]
        if others:
            raise self.refuse(
                f"rank {', '.join(map(str, others))} has another graph than rank 0, of other "
                "shapes or another branch of the model"
            )
        return needs(reports)

    def refuse(self, why: str) -> Disagreement:
        """Refuse for all ranks and all that is to come."""
        return self._remembered(super().refuse(why))

    def disagreement(self, outcome: Outcome) -> Disagreement:
        """Another rank has refused, for all that is to come."""
        return self._remembered(super().disagreement(outcome))

    def _remembered(self, refusal: Disagreement) -> Disagreement:
        self.ranks.refusal = refusal.message
        return refusal

    def close(self) -> None:
        """Wait until all ranks can run the plan. Raises Disagreement if one cannot."""
        if self.store.count(f"{self.place}/accepted") == self.store.ranks:
            self._claim(Outcome(True, self.store.rank))
        self.store.wait(self.outcome, seconds=self.ranks.timeout)
        outcome = self.read_outcome()
        if not outcome.planned:
            raise self.disagreement(outcome)


class LaterAgreement(_SharedAgreement):
    """A graph that is met after the first step, by this rank and perhaps by others."""

    def __init__(self, ranks: Ranks, store: RankStore) -> None:
        super().__init__(ranks, store, "")

    def decision(self, graph: Graph, report: MakeReport, decide: Decide) -> Decision:
        """Whoever is first decides; the budget is known since the first step."""
        self.place = f"graph {graph.hash()}"
        if self.store.has(self.proposal):
            return self.accept_proposal(graph)
        rank = str(self.store.rank)
        if self.store.claim(f"{self.place}/planner", rank) == rank:
            return self.propose(lambda: decide(ALONE))
        return self.accept_proposal(graph)

    def close(self) -> None:
        """The others need not run it."""


def report_rank(graph: str, device: torch.device) -> RankReport:
    """What this rank says of itself, for a graph of this hash on `device`."""
    held = live_bytes(device)
    free = available_bytes(device, 0)
    if free is not None and device.type != "cuda":
        free //= _ranks_here()
    return RankReport(
        graph, held + pending_optimizer_bytes(device), None if free is None else free + held
    )


def _ranks_here() -> int:
    """How many ranks share this machine's memory, as torchrun tells them."""
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(ranks)) if ranks.isdecimal() else 1


def needs(reports: Sequence[RankReport]) -> Needs:
    """What a plan made on the first rank has to respect so that it fits on all."""
    free = [each.free_bytes for each in reports if each.free_bytes is not None]
    most = max(each.resident_bytes for each in reports)
    return Needs(most - reports[0].resident_bytes, min(free, default=None))


def check(decision: Decision, own: Graph) -> None:
    """Check another rank's decision against one's own graph. Raises IllegalPlan, BadInput.

    Its graph has the measurements of that rank; otherwise it must be one's own, or that of a step
    one's own is a part of.
    """
    graphs.check(decision.graph)
    is_step = bool(region_names(decision.graph))
    if not (_has_part(decision.graph, own) if is_step else _is_same(decision.graph, own)):
        raise IllegalPlan("the plan received is of another graph", hint="see docs/distributed.md")
    validate(decision.graph, decision.plan)


def _is_same(graph: Graph, own: Graph) -> bool:
    def program(graph: Graph) -> object:
        ops = [(op.target, op.segment, op.inputs, op.outputs, op.recomputable) for op in graph.ops]
        return ops, [segment.region for segment in graph.segments]

    return program(graph) == program(own)


def _has_part(step: Graph, own: Graph) -> bool:
    mine = [(op.target, op.recomputable) for op in own.ops if op.segment != EAGER]

    def program(call: int) -> object:
        segments = segments_of(step, call)
        return [(op.target, op.recomputable) for op in step.ops if op.segment in segments]

    return any(program(call) == mine for call in calls_of(step, own.hash()))
