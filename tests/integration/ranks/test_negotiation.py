"""Jobs of several ranks, as threads of this process, that plan the region which all have captured.

What one rank does otherwise is told once, by the rank that knows why; all have graphs to train on.
"""

from __future__ import annotations

import copy
import gc
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor, fx, nn

from fastsa.capture.region import Modules, Region, compile_region
from fastsa.errors import FastsaWarning, InfeasibleBudget
from fastsa.planner.budget import parse
from fastsa.planner.graph import Graph
from fastsa.planner.options import SearchOptions
from fastsa.planner.plan import Plan
from fastsa.planner.solve import solve
from fastsa.runtime.decision import Decision
from fastsa.runtime.job import Host, Job
from fastsa.runtime.partition import partition
from fastsa.runtime.planned_region import PlannedRegion
from fastsa.runtime.settings import Settings
from support.rank_threads import HANG_SECONDS, RankThreads

WIDTH, ROWS = 64, 8192  # 2 MiB for each value that is saved, far more than tensors of other tests

Joint = tuple[fx.GraphModule, int]


class Net(nn.Module):
    """Activations that are cheap to make again. Another branch: the same model, another graph."""

    def __init__(self, branch: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(6))
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.nn.functional.gelu(layer(x)).sin()
        loss = x.square().mean()
        return loss.exp().log() if self.branch else loss


class Kept(Region):
    """Keeps the joint graph."""

    joint: Joint

    def partition(self, joint: fx.GraphModule, num_fwd_outputs: int) -> Modules:
        self.joint = copy.deepcopy(joint), num_fwd_outputs
        return super().partition(joint, num_fwd_outputs)


def joint_of(rows: int = ROWS, branch: bool = False) -> Joint:
    region, model = Kept(), Net(branch)
    model.compile(backend=lambda gm, inputs: compile_region(region, gm, inputs))
    model(torch.randn(rows, WIDTH))
    torch._dynamo.reset()
    return region.joint


@pytest.fixture(scope="module")
def joints() -> Iterator[dict[str, Joint]]:
    """The region as it is, on another branch, and of another shape."""
    made = {"same": joint_of(), "branch": joint_of(branch=True), "shape": joint_of(ROWS - 8)}
    gc.collect()
    gc.freeze()  # each rank looks at all that is alive: what other tests have left is not its own
    yield made
    gc.unfreeze()


class Ranks:
    """A job on each rank; `modules` are what the ranks train on."""

    def __init__(self, threads: RankThreads, joints: dict[str, Joint], folder: Path) -> None:
        self.threads = threads
        self.joints = joints
        self.told: list[tuple[int, Decision]] = []
        self.jobs = [self.job(rank, folder / "store.db") for rank in range(threads.count)]
        self.modules: dict[int, Modules] = {}
        self.warnings: list[str] = []

    def job(self, rank: int, store: Path, timeout: float = HANG_SECONDS, **more: str) -> Job:
        budget = parse(more.get("budget", "70%"))
        settings = Settings(budget=budget, time_limit=60, rank_timeout=timeout, store=store)
        return Job(settings, Host(on_planned=lambda decision: self.told.append((rank, decision))))

    def close(self) -> None:
        """End the jobs; nothing has trained."""
        for job in self.jobs:
            job.close(store_run=False)

    def meets(self, rank: int, which: str = "same") -> None:
        """In a rank's thread: it plans a region that it has captured."""
        joint, num_fwd_outputs = self.joints[which]
        region = PlannedRegion(self.jobs[rank], is_whole=True)
        self.modules[rank] = region.partition(copy.deepcopy(joint), num_fwd_outputs)

    def run(self, *works: Callable[[], None] | None) -> list[BaseException | None]:
        """Let ranks do something at the same time, those for which there is something."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", FastsaWarning)
            started = [
                self.threads.start(rank, work)
                for rank, work in enumerate(works)
                if work is not None
            ]
            errors = [each.exception(HANG_SECONDS) for each in started]
        ours = [each for each in caught if issubclass(each.category, FastsaWarning)]
        self.warnings += [str(each.message) for each in ours]
        return errors

    def all_meet(self, **which: str) -> None:
        """All meet a region, which is `same` unless it is given for `rank0`, `rank1`..."""
        ranks = range(self.threads.count)
        works = [partial(self.meets, rank, which.get(f"rank{rank}", "same")) for rank in ranks]
        assert self.run(*works) == [None] * self.threads.count
        assert set(self.modules) == set(ranks)

    def is_planned(self) -> bool:
        """Whether all have the same plan, which makes something again."""
        ranks = {rank for rank, _ in self.told}
        sequences = {decision.plan.sequence for _, decision in self.told}
        programs = {self.program(rank) for rank in self.modules}
        (sequence,) = sequences
        makes_again = max(Counter(sequence).values()) > 1
        return ranks == set(self.modules) and len(programs) == 1 and makes_again

    def program(self, rank: int) -> tuple[str, ...]:
        """What a rank runs, in its order."""
        return tuple(
            str(node.target) for module in self.modules[rank] for node in module.graph.nodes
        )

    def is_unplanned(self, why: str) -> bool:
        """Whether nobody has a plan, and one has told why."""
        (warning,) = self.warnings
        said = r"(rank \d: )?the model trains unplanned on all ranks: "
        assert re.fullmatch(said + why, warning), warning
        return self.told == []


@pytest.fixture
def ranks(
    request: pytest.FixtureRequest,
    joints: dict[str, Joint],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Ranks]:
    monkeypatch.setattr("fastsa.runtime.selector.solve", solve_briefly)
    count = getattr(request, "param", 2)
    made = Ranks(RankThreads(count, monkeypatch, in_turn=True), joints, tmp_path)
    yield made
    made.close()


def solve_briefly(
    graph: Graph, budget_bytes: int, options: SearchOptions, *, warm_start: Plan | None = None
) -> Plan:
    brief = msgspec.structs.replace(options, iterations=100)
    return solve(graph, budget_bytes, brief, warm_start=warm_start)


def on_purpose(*arguments: object, **more: object) -> None:
    raise RuntimeError("on purpose")


@pytest.mark.parametrize("ranks", [4], indirect=True)
def test_all_have_one_plan(ranks: Ranks) -> None:
    ranks.all_meet()
    assert ranks.is_planned()
    assert ranks.warnings == []


class TestUnplanned:
    @pytest.mark.parametrize("which", ["branch", "shape"])
    def test_another_graph(self, ranks: Ranks, which: str) -> None:
        ranks.all_meet(rank1=which)
        assert ranks.is_unplanned("rank 1 has another graph than rank 0, .*")

    def test_one_is_absent(self, ranks: Ranks) -> None:
        ranks.jobs[0].ranks.timeout = 0.05
        assert ranks.run(lambda: ranks.meets(0)) == [None]
        assert ranks.is_unplanned(r"rank 1 did not come to this part of the model within 0\.05 s")

    def test_the_script_of_one_has_ended(self, ranks: Ranks) -> None:
        ranks.run(None, ranks.jobs[1].close)
        ranks.run(lambda: ranks.meets(0))
        assert ranks.is_unplanned("rank 1: its script has ended")

    def test_the_planner_fails(self, ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fastsa.runtime.selector.solve", on_purpose)  # only rank 0 has it run
        ranks.all_meet()
        assert ranks.is_unplanned("rank 0: RuntimeError: on purpose")

    @pytest.mark.parametrize("ranks", [3], indirect=True)
    def test_one_cannot_run_the_plan(self, ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
        last = ranks.threads.count - 1

        def fails_on_the_last(*arguments: object) -> Modules:
            if ranks.threads.rank == last:
                on_purpose()
            return partition(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr("fastsa.runtime.planned_region.partition", fails_on_the_last)
        ranks.all_meet()
        assert ranks.is_unplanned(f"rank {last}: RuntimeError: on purpose")

    def test_the_next_region_as_well(self, ranks: Ranks) -> None:
        """It is told once, and nobody waits."""
        ranks.all_meet(rank1="branch")
        ranks.run(lambda: ranks.meets(0, "shape"))
        assert ranks.is_unplanned("rank 1 has another graph than rank 0, .*")

    def test_a_budget_that_cannot_be_met(self, ranks: Ranks, tmp_path: Path) -> None:
        ranks.jobs[0] = ranks.job(0, tmp_path / "store.db", budget="2MiB")
        errors = ranks.run(lambda: ranks.meets(0), lambda: ranks.meets(1))
        messages = {str(error) for error in errors}
        assert len(messages) == 1
        for job, error in zip(ranks.jobs, errors, strict=True):
            assert isinstance(error, InfeasibleBudget)
            assert error.message.startswith("a budget of 2.00 MiB cannot be met: the minimum is ")
            assert job.refusal is error


class TestPlanned:
    def test_only_rank_0_needs_the_store(self, ranks: Ranks) -> None:
        ranks.jobs[1] = ranks.job(1, Path("/dev/null/store.db"))
        ranks.all_meet()
        assert ranks.is_planned()
        assert ranks.warnings == []

    def test_a_graph_that_one_alone_meets_later(self, ranks: Ranks) -> None:
        ranks.all_meet()
        for job in ranks.jobs:
            job.ranks.trained()
        ranks.told.clear()
        assert ranks.run(None, lambda: ranks.meets(1, "shape")) == [None]
        (told,) = ranks.told
        assert told[0] == 1
        assert ranks.run(lambda: ranks.meets(0, "shape")) == [None]
        assert ranks.is_planned()

    def test_the_second_start_finds_the_plan(
        self, ranks: Ranks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        ranks.all_meet()
        (made,) = {decision.plan_id for _, decision in ranks.told}
        again = Ranks(RankThreads(2, monkeypatch, in_turn=True), ranks.joints, tmp_path)
        again.all_meet()
        again.close()
        assert again.is_planned()
        assert {(each.origin, each.plan_id) for _, each in again.told} == {("found", made)}
