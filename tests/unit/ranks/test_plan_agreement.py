"""Agreements of ranks: one plan for all or none for anybody, whatever one of them does."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec
import pytest
import torch.distributed as dist

from fastsa.errors import InfeasibleBudget
from fastsa.instrumentation.rank_store import RankStore
from fastsa.planner.graph import Graph
from fastsa.planner.solve import plan
from fastsa.runtime.decision import Decision
from fastsa.runtime.ranks import Disagreement, RankReport, Ranks
from fastsa.runtime.selector import ALONE, Needs
from support import builders
from support.rank_threads import HANG_SECONDS, RankThreads

GRAPH, OTHER = builders.graph(), builders.graph(4)
SOON = 0.01  # seconds that a rank waits in vain


def decision_on(graph: Graph) -> Decision:
    found = plan(graph, 1 << 62, time_limit=0, iterations=0)
    return Decision(
        plan=found,
        plan_id=None,
        origin="made",
        graph=graph,
        device=builders.DEVICE,
        versions={},
        process_budget_bytes=found.peak_bytes,
        resident_bytes=0,
        unplanned_peak_bytes=found.peak_bytes,
        unplanned_step_seconds=1.0,
        profiled=False,
        timed=False,
        model="model",
        shape="shape",
        captured_hash=graph.hash(),
    )


DECISION = decision_on(GRAPH)


def fails(*arguments: object) -> Decision:
    raise RuntimeError("on purpose")


def not_asked(needs: Needs) -> Decision:
    raise AssertionError("another rank decides")


class Job:
    """The ranks of one job: each has a Ranks of its own."""

    def __init__(self, threads: RankThreads) -> None:
        self.threads = threads
        self.ranks = [Ranks(HANG_SECONDS, HANG_SECONDS) for _ in range(threads.count)]
        self.needs: list[Needs] = []

    def impatient(self, rank: int) -> None:
        """Let a rank give up soon."""
        self.ranks[rank] = Ranks(SOON, SOON)

    def decide(self, needs: Needs) -> Decision:
        """What rank 0 decides, and for whom."""
        self.needs.append(needs)
        return DECISION

    def meet(
        self,
        rank: int,
        graph: Graph = GRAPH,
        decide: Callable[[Needs], Decision] | None = None,
        prepare: Callable[[], object] = lambda: None,
        report: tuple[int, int | None] = (0, None),
    ) -> Decision:
        """In a rank's thread: what it does at a region."""
        if decide is None:
            decide = not_asked if rank else self.decide
        with self.ranks[rank].agreement() as met:
            found = met.decision(graph, lambda name: RankReport(name, *report), decide)
            prepare()
        return found

    def all_meet(self, **how: object) -> list[Decision | BaseException]:
        """What comes of an agreement; each of `how` is a function of the rank."""
        return self.threads.on_all(
            lambda rank: self.meet(rank, **{name: of(rank) for name, of in how.items()})  # type: ignore[operator, arg-type]
        )


@pytest.fixture
def job(ranks: int, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(RankThreads(ranks, monkeypatch))


any_ranks = pytest.mark.parametrize("ranks", [2, 3, 4])
two_ranks = pytest.mark.parametrize("ranks", [2])
four_ranks = pytest.mark.parametrize("ranks", [4])


def why(outcome: object) -> str:
    assert isinstance(outcome, Disagreement), repr(outcome)
    return outcome.message


def refused(outcomes: list[Decision | BaseException], by: int) -> str:
    """The one reason why nobody has a plan; the rank that refuses is the one that says so."""
    (reason,) = {why(outcome) for outcome in outcomes}
    told = [isinstance(each, Disagreement) and each.is_reported for each in outcomes]
    assert told == [rank != by for rank in range(len(outcomes))]
    return reason


class TestFirstAgreement:
    @any_ranks
    def test_all_take_the_plan_of_rank_0(self, job: Job) -> None:
        for regions in (1, 2):  # the second one is met after the first
            assert job.all_meet() == [DECISION] * job.threads.count
            assert len(job.needs) == regions

    @any_ranks
    def test_the_plan_suits_the_fullest(self, job: Job) -> None:
        job.all_meet(report=lambda rank: (100 + 10 * rank, None if rank == 1 else 1000 - rank))
        last = job.threads.count - 1
        free = min(1000 - rank for rank in range(job.threads.count) if rank != 1)
        assert job.needs == [Needs(10 * last, free)]

    @any_ranks
    def test_another_graph_on_the_last(self, job: Job) -> None:
        last = job.threads.count - 1
        outcomes = job.all_meet(graph=lambda rank: OTHER if rank == last else GRAPH)
        assert refused(outcomes, by=0) == (
            f"rank {last} has another graph than rank 0, of other shapes or another branch of the "
            "model"
        )
        assert job.needs == []

    @any_ranks
    def test_another_shape_on_the_last(self, job: Job) -> None:
        last = job.threads.count - 1
        smaller = builders.graph(size=builders.KIB // 2)
        outcomes = job.all_meet(graph=lambda rank: smaller if rank == last else GRAPH)
        assert refused(outcomes, by=0).startswith(f"rank {last} has another graph than rank 0, ")

    @four_ranks
    def test_another_graph_on_two(self, job: Job) -> None:
        outcomes = job.all_meet(graph=lambda rank: OTHER if rank % 2 else GRAPH)
        assert refused(outcomes, by=0).startswith("rank 1, 3 has another graph than rank 0, ")

    @any_ranks
    def test_the_planner_fails(self, job: Job) -> None:
        outcomes = job.all_meet(decide=lambda rank: not_asked if rank else fails)
        assert refused(outcomes, by=0) == "rank 0: RuntimeError: on purpose"

    @any_ranks
    def test_one_cannot_run_the_plan(self, job: Job) -> None:
        last = job.threads.count - 1
        outcomes = job.all_meet(prepare=lambda rank: fails if rank == last else list)
        assert refused(outcomes, by=last) == f"rank {last}: RuntimeError: on purpose"

    @any_ranks
    def test_one_is_interrupted(self, job: Job) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        *others, last = job.all_meet(
            prepare=lambda rank: interrupt if rank == job.threads.count - 1 else list
        )
        assert isinstance(last, KeyboardInterrupt)
        assert {why(each) for each in others} == {f"rank {len(others)} was interrupted"}

    @any_ranks
    def test_the_budget_cannot_be_met(self, job: Job) -> None:
        def refuse(needs: Needs) -> Decision:
            raise InfeasibleBudget("too little", hint="give more")

        outcomes = job.all_meet(decide=lambda rank: not_asked if rank else refuse)
        for outcome in outcomes:
            assert isinstance(outcome, InfeasibleBudget)
            assert (outcome.message, outcome.hint) == ("too little", "give more")

    @two_ranks
    def test_a_plan_of_another_graph_is_not_taken(self, job: Job) -> None:
        outcomes = job.all_meet(
            decide=lambda rank: not_asked if rank else lambda needs: decision_on(OTHER)
        )
        assert refused(outcomes, by=1) == "rank 1: the plan received is of another graph"

    @two_ranks
    def test_an_illegal_plan_is_not_taken(self, job: Job) -> None:
        backwards = msgspec.structs.replace(DECISION.plan, sequence=DECISION.plan.sequence[::-1])
        illegal = msgspec.structs.replace(DECISION, plan=backwards)
        outcomes = job.all_meet(decide=lambda rank: not_asked if rank else lambda needs: illegal)
        assert refused(outcomes, by=1).startswith("rank 1: ")

    @two_ranks
    def test_they_do_not_meet_again(self, job: Job) -> None:
        first = refused(job.all_meet(prepare=lambda rank: fails if rank else list), by=1)
        job.ranks[1].trained()  # nor later on
        for rank in (1, 0):  # nobody waits for anybody
            with pytest.raises(Disagreement) as again:
                job.threads.on(rank, lambda rank=rank: job.meet(rank))  # type: ignore[misc]
            assert (again.value.message, again.value.is_reported) == (first, True)


class TestAbsent:
    @any_ranks
    def test_one_does_not_come(self, job: Job) -> None:
        job.impatient(0)
        last = job.threads.count - 1
        others = [
            job.threads.start(rank, lambda rank=rank: job.meet(rank))  # type: ignore[misc]
            for rank in range(1, last)
        ]
        for rank in range(1, last):
            assert job.threads.stores[0].wait(f"region 0/report/{rank}", seconds=HANG_SECONDS)
        begun = job.threads.start(0, lambda: job.meet(0))
        errors = [each.exception(HANG_SECONDS) for each in (begun, *others)]
        expected = f"rank {last} did not come to this part of the model within {SOON:g} s"
        assert {why(error) for error in errors} == {expected}
        # When it comes after all, it trains unplanned like the others, and waits for nobody.
        with pytest.raises(Disagreement, match="did not come"):
            job.threads.on(last, lambda: job.meet(last))

    @two_ranks
    def test_rank_0_does_not_come(self, job: Job) -> None:
        job.impatient(1)
        expected = f"rank 0 did not come to this part of the model within {SOON:g} s"
        with pytest.raises(Disagreement, match=expected) as seen:
            job.threads.on(1, lambda: job.meet(1))
        assert not seen.value.is_reported
        with pytest.raises(Disagreement, match=expected) as seen:
            job.threads.on(0, lambda: job.meet(0))
        assert seen.value.is_reported

    @any_ranks
    def test_one_will_not_come_and_says_so(self, job: Job) -> None:
        last = job.threads.count - 1
        job.threads.on(last, lambda: job.ranks[last].leave("its script has ended"))
        started = [
            job.threads.start(rank, lambda rank=rank: job.meet(rank))  # type: ignore[misc]
            for rank in range(last)
        ]
        assert {why(each.exception(HANG_SECONDS)) for each in started} == {
            f"rank {last}: its script has ended"
        }

    @two_ranks
    def test_who_has_met_the_others_leaves_without_a_word(self, job: Job) -> None:
        job.all_meet()
        job.threads.on(1, lambda: job.ranks[1].leave("its script has ended"))
        assert not job.threads.stores[0].has("absent/1")

    @two_ranks
    def test_no_plan_comes(self, job: Job) -> None:
        """Rank 0 is at its planner for longer than it is waited for."""
        job.impatient(1)
        given_up = threading.Event()

        def decide(needs: Needs) -> Decision:
            assert given_up.wait(HANG_SECONDS)
            return DECISION

        planning = job.threads.start(0, lambda: job.meet(0, decide=decide))
        assert job.threads.stores[1].wait("region 0/report/0", seconds=HANG_SECONDS)
        expected = f"no plan came within {6 * SOON:g} s"
        with pytest.raises(Disagreement, match=expected):
            job.threads.on(1, lambda: job.meet(1))
        given_up.set()
        assert why(planning.exception(HANG_SECONDS)) == expected

    @any_ranks
    def test_one_does_not_answer(self, job: Job) -> None:
        """It makes what it needs to run the plan for longer than it is waited for."""
        job.impatient(0)
        given_up, last = threading.Event(), job.threads.count - 1
        started = [
            job.threads.start(
                rank,
                lambda rank=rank: job.meet(  # type: ignore[misc]
                    rank, prepare=lambda: rank < last or given_up.wait(HANG_SECONDS)
                ),
            )
            for rank in range(1, last + 1)
        ]
        for rank in range(1, last + 1):
            assert job.threads.stores[0].wait(f"region 0/report/{rank}", seconds=HANG_SECONDS)
        with pytest.raises(Disagreement, match="not all ranks have answered in time") as seen:
            job.threads.on(0, lambda: job.meet(0))
        assert not seen.value.is_reported
        given_up.set()
        for each in started:
            assert why(each.exception(HANG_SECONDS)) == "not all ranks have answered in time"


class TestLater:
    """After the first step, when nobody may wait for the others."""

    @pytest.fixture
    def job(self, ranks: int, monkeypatch: pytest.MonkeyPatch) -> Job:
        made = Job(RankThreads(ranks, monkeypatch))
        for each in made.ranks:
            each.trained()
        return made

    @any_ranks
    def test_a_graph_that_one_alone_meets(self, job: Job) -> None:
        last = job.threads.count - 1
        assert job.threads.on(last, lambda: job.meet(last, decide=job.decide)) == DECISION
        assert job.needs == [ALONE]

    @any_ranks
    def test_whoever_is_first_decides(self, job: Job) -> None:
        for rank in reversed(range(job.threads.count)):
            assert job.threads.on(rank, lambda rank=rank: job.meet(rank, decide=job.decide))  # type: ignore[misc]
        assert job.needs == [ALONE]

    @any_ranks
    def test_all_at_once(self, job: Job) -> None:
        outcomes = job.all_meet(decide=lambda rank: job.decide)
        assert outcomes == [DECISION] * job.threads.count
        assert job.needs == [ALONE]

    @two_ranks
    def test_of_the_first_one_without_a_plan(self, job: Job) -> None:
        """The graph is unplanned on both; the next one is another matter."""
        outcomes = job.all_meet(decide=lambda rank: fails)
        reasons = {why(outcome) for outcome in outcomes}
        assert len(reasons) == 1
        assert reasons <= {f"rank {rank}: RuntimeError: on purpose" for rank in range(2)}
        job.all_meet(graph=lambda rank: OTHER, decide=lambda rank: lambda needs: decision_on(OTHER))
        assert [each.refusal for each in job.ranks] == [None, None]

    @two_ranks
    def test_the_budget_cannot_be_met(self, job: Job) -> None:
        def refuse(needs: Needs) -> Decision:
            raise InfeasibleBudget("too little", hint="give more")

        outcomes = job.all_meet(decide=lambda rank: refuse)
        for outcome in outcomes:
            assert isinstance(outcome, InfeasibleBudget)
            assert outcome.message == "too little"


class TestSaid:
    @any_ranks
    def test_once_in_a_job(self, job: Job) -> None:
        for text in ("a warning", "another"):
            said = job.threads.on_all(
                lambda rank, text=text: job.ranks[rank].is_first_to_say(text)  # type: ignore[misc]
            )
            assert sorted(map(bool, said)) == [False] * (job.threads.count - 1) + [True]

    @two_ranks
    def test_which_rank_it_is(self, job: Job) -> None:
        job.all_meet()
        assert job.threads.on_all(lambda rank: job.ranks[rank].rank) == [0, 1]

    def test_which_rank_torchrun_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Before there is a process group."""
        for said, rank in (("3", 3), ("", 0), ("none", 0)):
            monkeypatch.setenv("RANK", said)
            assert Ranks(SOON, SOON).rank == rank


class TestStoreIsGone:
    """The store of the process group: its server has ended with the rank that had it."""

    @pytest.fixture
    def job(self, monkeypatch: pytest.MonkeyPatch) -> Job:
        server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        client = dist.TCPStore("127.0.0.1", server.port, wait_for_workers=False)
        threads = RankThreads(2, monkeypatch)
        threads.stores[1] = RankStore(client, "test", rank=1, ranks=2)
        assert not threads.stores[1].has("anything")
        del server
        return Job(threads)

    def test_unplanned(self, job: Job) -> None:
        with pytest.raises(Disagreement, match="rank 1: Dist") as seen:
            job.threads.on(1, lambda: job.meet(1))
        assert not seen.value.is_reported

    def test_what_else_it_is_for_raises_nothing(self, job: Job) -> None:
        assert job.threads.on(1, lambda: job.ranks[1].is_first_to_say("a warning"))
        job.threads.on(1, lambda: job.ranks[1].leave("its script has ended"))
