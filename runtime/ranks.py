"""Ranks: the processes of one job take the same plan for each region, or none of them takes one.

Gradients are the same to the last bit under any plan, so this is about equal step times and about
what a user can rely on, never about correctness. No rank waits for another without a bound.

In the first step the ranks meet at each region: each says which graph it has and what it holds,
rank 0 finds or makes the plan, all check it, and the first verdict that is put up counts for all.
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

from fastsa.capture.joint_graph import OUTSIDE
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
    """What one rank brings to a meeting: its graph's hash, bytes it holds, bytes it may have."""

    graph: str
    resident_bytes: int
    free_bytes: int | None


class PlanProposal(msgspec.Struct, frozen=True):
    """What rank 0 puts up: a decision, or why no plan meets the budget (message, hint)."""

    decision: Decision | None
    infeasible: tuple[str, str] | None = None


class Agreement(msgspec.Struct, frozen=True):
    """What counts for all: whether the region is planned; if not, which rank said so, and why."""

    planned: bool
    rank: int
    why: str = ""


class Disagreement(FastsaError):
    """The ranks have no plan in common. `is_told` if a rank has said so to the user already."""

    def __init__(self, why: str, *, is_told: bool) -> None:
        super().__init__(why, hint="see docs/distributed.md")
        self.is_told = is_told


Bring = Callable[[str], RankReport]
Decide = Callable[[Needs], Decision]


class Meeting(Protocol):
    """One region, seen from one rank."""

    def decision(self, graph: Graph, share: Bring, decide: Decide) -> Decision:
        """The decision for the region. Raises Disagreement and InfeasibleBudget.

        `share` says what this rank brings, given its graph's hash; `decide` finds or makes a plan
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

    def board(self) -> RankStore | None:
        """The board of this job, None if it has one rank."""
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
    def meeting(self) -> Iterator[Meeting]:
        """In it a rank gets its decision and makes what it needs to run it.

        An exception that leaves the block is a refusal by this rank, and becomes a Disagreement.
        Once the ranks have disagreed they do not meet again.
        """
        board = self.board()
        if board is None:
            yield Alone()
            return
        if self.refusal is not None:
            raise Disagreement(self.refusal, is_told=True)
        met = Later(self, board) if self._has_trained else FirstStep(self, board)
        try:
            yield met
            met.close()
        except (Disagreement, InfeasibleBudget):
            raise
        except Exception as error:
            raise met.refuse(f"rank {board.rank}: {reason(error)}") from error
        except BaseException:
            met.refuse(f"rank {board.rank} was interrupted")
            raise

    def is_first_to_say(self, text: str) -> bool:
        """Whether no other rank has said the same."""
        try:
            board = self.board()
            who = "" if board is None else board.claim(f"said/{text}", str(board.rank))
            return board is None or who == str(board.rank)
        except RuntimeError:
            return True

    def leave(self, why: str) -> None:
        """This rank will not come to meetings: the others need not wait."""
        try:
            board = find_rank_store(self._name)
            if board is not None and not self.regions:
                board.put(f"absent/{board.rank}", why.encode())
        except RuntimeError:
            return  # then they wait


class Alone:
    """A job of one process."""

    def decision(self, graph: Graph, share: Bring, decide: Decide) -> Decision:
        """What is decided here."""
        return decide(ALONE)

    def close(self) -> None:
        """Nobody else is concerned."""

    def refuse(self, why: str) -> Disagreement:
        """Never called: there is nobody to disagree with."""
        return Disagreement(why, is_told=False)


class _OnBoard:
    """A meeting that has a place on the board."""

    def __init__(self, ranks: Ranks, board: RankStore, place: str) -> None:
        self.ranks = ranks
        self.board = board
        self.place = place

    @property
    def offer(self) -> str:
        return f"{self.place}/offer"

    @property
    def verdict(self) -> str:
        return f"{self.place}/verdict"

    def put_offer(self, decide: Callable[[], Decision]) -> Decision:
        """Decide and let the others know. Raises InfeasibleBudget when they know."""
        try:
            decision = decide()
        except InfeasibleBudget as error:
            self._put(PlanProposal(None, (error.message, error.hint)))
            raise
        self._put(PlanProposal(decision))
        return decision

    def _put(self, offer: PlanProposal) -> None:
        self.board.put(self.offer, zlib.compress(msgspec.json.encode(offer)))

    def take_offer(self, graph: Graph) -> Decision:
        """The decision of the rank that decides, checked against this rank's own graph."""
        if not self.wait_for(self.offer, seconds=self.ranks.patience):
            raise self.refuse(f"no plan came within {self.ranks.patience:g} s")
        content = zlib.decompress(self.board.read(self.offer))
        offer = msgspec.json.decode(content, type=PlanProposal)
        if offer.decision is None:
            message, hint = offer.infeasible or ("there is no plan", "see rank 0")
            raise InfeasibleBudget(message, hint=hint)
        check(offer.decision, graph)
        return offer.decision

    def wait_for(self, *names: str, seconds: float) -> str | None:
        """The first of the notes that is there. Raises Disagreement if another rank refuses."""
        found = self.board.wait(*names, self.verdict, seconds=seconds)
        if found == self.verdict:
            raise self.disagreement(self.read_verdict())
        return found

    def read_verdict(self) -> Agreement:
        """What the first rank to say has said; this rank says "unplanned" if none has."""
        unanswered = Agreement(False, self.board.rank, "not all ranks have answered in time")
        return self._claim(unanswered)

    def refuse(self, why: str) -> Disagreement:
        """Say that the region is to be trained unplanned, for all ranks."""
        verdict = Agreement(False, self.board.rank, why)
        try:
            return self.disagreement(self._claim(verdict))
        except RuntimeError:
            return self.disagreement(verdict)  # the store is gone, the others will notice too

    def _claim(self, verdict: Agreement) -> Agreement:
        found = self.board.claim(self.verdict, msgspec.json.encode(verdict).decode())
        return msgspec.json.decode(found, type=Agreement)

    def disagreement(self, verdict: Agreement) -> Disagreement:
        return Disagreement(verdict.why, is_told=verdict.rank != self.board.rank)


class FirstStep(_OnBoard):
    """A meeting of all ranks."""

    def __init__(self, ranks: Ranks, board: RankStore) -> None:
        super().__init__(ranks, board, f"region {ranks.regions}")
        ranks.regions += 1

    def decision(self, graph: Graph, share: Bring, decide: Decide) -> Decision:
        """Rank 0 decides once it has seen the others' shares."""
        own = share(graph.hash())
        self.board.put(self.share_of(self.board.rank), msgspec.json.encode(own))
        if self.board.rank:
            self.wait_for_rank(0, self.ranks.timeout)
            return self.take_offer(graph)
        needs = self.gather(own)
        return self.put_offer(lambda: decide(needs))

    def share_of(self, rank: int) -> str:
        return f"{self.place}/share/{rank}"

    def wait_for_rank(self, rank: int, seconds: float) -> None:
        absent = f"absent/{rank}"
        found = self.wait_for(self.share_of(rank), absent, seconds=seconds)
        if found is None:
            raise self.refuse(
                f"rank {rank} did not come to this part of the model within "
                f"{self.ranks.timeout:g} s"
            )
        if found == absent:
            raise self.refuse(f"rank {rank}: {self.board.read(absent).decode()}")

    def gather(self, own: RankReport) -> Needs:
        """What a plan has to respect on all ranks. Raises Disagreement if graphs differ."""
        deadline = time.monotonic() + self.ranks.timeout
        shares = [own]
        for rank in range(1, self.board.ranks):
            self.wait_for_rank(rank, max(0.0, deadline - time.monotonic()))
            content = self.board.read(self.share_of(rank))
            shares.append(msgspec.json.decode(content, type=RankReport))
        others = [rank for rank, share in enumerate(shares) if share.graph != own.graph]
        if others:
            raise self.refuse(
                f"rank {', '.join(map(str, others))} has another graph than rank 0, of other "
                "shapes or another branch of the model"
            )
        return needs(shares)

    def refuse(self, why: str) -> Disagreement:
        """Refuse for all ranks and all that is to come."""
        return self._remembered(super().refuse(why))

    def disagreement(self, verdict: Agreement) -> Disagreement:
        """Another rank has refused, for all that is to come."""
        return self._remembered(super().disagreement(verdict))

    def _remembered(self, refusal: Disagreement) -> Disagreement:
        self.ranks.refusal = refusal.message
        return refusal

    def close(self) -> None:
        """Wait until all ranks can run the plan. Raises Disagreement if one cannot."""
        if self.board.count(f"{self.place}/accepted") == self.board.ranks:
            self._claim(Agreement(True, self.board.rank))
        self.board.wait(self.verdict, seconds=self.ranks.timeout)
        verdict = self.read_verdict()
        if not verdict.planned:
            raise self.disagreement(verdict)


class Later(_OnBoard):
    """A graph that is met after the first step, by this rank and perhaps by others."""

    def __init__(self, ranks: Ranks, board: RankStore) -> None:
        super().__init__(ranks, board, "")

    def decision(self, graph: Graph, share: Bring, decide: Decide) -> Decision:
        """Whoever is first decides; the budget is known since the first step."""
        self.place = f"graph {graph.hash()}"
        if self.board.has(self.offer):
            return self.take_offer(graph)
        rank = str(self.board.rank)
        if self.board.claim(f"{self.place}/planner", rank) == rank:
            return self.put_offer(lambda: decide(ALONE))
        return self.take_offer(graph)

    def close(self) -> None:
        """The others need not run it."""


def report_rank(graph: str, device: torch.device) -> RankReport:
    """What this rank brings for a graph of this hash, on `device`."""
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


def needs(shares: Sequence[RankReport]) -> Needs:
    """What a plan made on the first rank has to respect so that it fits on all."""
    free = [share.free_bytes for share in shares if share.free_bytes is not None]
    most = max(share.resident_bytes for share in shares)
    return Needs(most - shares[0].resident_bytes, min(free, default=None))


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
    mine = [(op.target, op.recomputable) for op in own.ops if op.segment != OUTSIDE]

    def program(call: int) -> object:
        segments = segments_of(step, call)
        return [(op.target, op.recomputable) for op in step.ops if op.segment in segments]

    return any(program(call) == mine for call in calls_of(step, own.hash()))
