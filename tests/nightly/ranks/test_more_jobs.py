"""More jobs of several ranks under torchrun: the same bits as without fastsa, and nobody hangs."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from fastsa.cache.store import Store
from support.torchrun import Ran, kinds, on_hosts, torchrun

RUN = ("-m", "fastsa", "run", "--time-limit", "2")
PATIENT, IMPATIENT = "60", "4"  # seconds that a rank is waited for


@cache
def plain(*command: str, ranks: int = 2) -> Ran:
    done = torchrun(*command, ranks=ranks)
    assert done.code == 0, done.err
    return done


def planned(
    place: Path,
    *command: str,
    budget: str = "60%",
    timeout: str = PATIENT,
    like: tuple[str, ...] | None = None,
) -> Ran:
    """Trained under fastsa on two ranks, to the same bits as `like` without."""
    options = ("--budget", budget, "--rank-timeout", timeout)
    done = torchrun(*RUN, *options, *command, store=place)
    assert done.code == 0, done.err
    assert done.lines == plain(*(like or command)).lines
    return done


def divergent(place: Path, how: str) -> Ran:
    faults = ("planner", "partition", "store")  # of fastsa: the script itself does the same
    return planned(
        place,
        "divergent_ranks.py",
        how,
        timeout=IMPATIENT if how == "absent" else PATIENT,
        like=("divergent_ranks.py", "no" if how in faults else how),
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


class TestDataParallel:
    def test_another_wrapper(self, place: Path) -> None:
        done = planned(place, "ddp.py", "0.0", "gradient_as_bucket_view", "static_graph")
        assert done.has_plan
        assert done.warnings == []
        assert set(kinds(place)) == {"graph", "plan", "run"}
        assert kinds(place).count("run") == 1

    def test_four_ranks(self, place: Path) -> None:
        """The same bits as compiled without a plan.

        In eager the gradients are ready in another order and share other buckets, in which gloo
        adds up those of more than two ranks in another order.
        """
        done = torchrun(*RUN, "--budget", "60%", "ddp.py", "0.1", ranks=4, store=place)
        assert done.code == 0, done.err
        assert done.lines == plain("ddp.py", "0.1", "compiled", ranks=4).lines
        assert done.has_plan
        assert done.warnings == []

    def test_accumulation_without_sync(self, place: Path) -> None:
        assert planned(place, "accumulates.py").has_plan

    def test_uneven_data(self, place: Path) -> None:
        """One rank is done earlier, the other meets a smaller batch that the first never sees."""
        done = planned(place, "uneven.py")
        assert done.has_plan
        assert done.warnings == []

    def test_a_budget_that_cannot_be_met(self, place: Path) -> None:
        done = torchrun(*RUN, "--budget", "2MiB", "ddp.py", "0.1", store=place)
        assert done.code == 1
        assert "fastsa: a budget of 2.00 MiB cannot be met: the minimum is" in done.err
        assert "exitcode  : 3" in done.err
        assert done.lines == []

    def test_profiled(self, place: Path) -> None:
        """One rank is recorded, all end after the same step, and the plan is of that profile."""
        done = torchrun("-m", "fastsa", "profile", "ddp.py", "0.1", store=place)
        assert done.code == 0, done.err
        steps = re.findall(r"rank (\d) step (\d)", done.out)
        last = {rank: max(step for who, step in steps if who == rank) for rank in "01"}
        assert last["0"] == last["1"] < "7"
        assert done.err.count("fastsa: profile ") == 1
        assert done.err.count(" 1 region(s)") == 1
        run = planned(place, "ddp.py", "0.1")
        assert "unplanned (measured)" in run.err
        assert run.warnings == []


def test_hosts_that_share_a_remote(tmp_path: Path) -> None:
    """One lookup serves all ranks: the first host asks, the other one is told."""
    remote = tmp_path / "remote"
    command = (*RUN, "--budget", "60%", "ddp.py", "0.1")
    expected = plain("ddp.py", "0.1").lines
    for start, origin in (("first", "made"), ("second", "found")):
        stores = [tmp_path / f"{start}{host}.db" for host in range(2)]
        done = on_hosts(*command, stores=stores, remote=remote)
        assert [each.code for each in done] == [0, 0], done[0].err + done[1].err
        assert sorted(line for each in done for line in each.lines) == expected
        assert f"fastsa: plan {origin}" in done[0].err
        assert done[0].warnings == done[1].warnings == []
        with Store.open(stores[0]) as asked, Store.open(stores[1]) as told:
            assert any(name.startswith("remote.") for name in asked.counters())
            assert not any(name.startswith("remote.") for name in told.counters())


class TestSharded:
    def test_profiled_and_run(self, place: Path) -> None:
        assert torchrun("-m", "fastsa", "profile", "fsdp.py", store=place).code == 0
        done = planned(place, "fsdp.py", budget="70%")
        assert done.has_plan
        assert "  sharded   1 region(s) planned, run 3 times a step in all; " in done.err


def test_a_model_with_collectives(place: Path) -> None:
    assert planned(place, "collectives.py").has_plan


class TestDivergent:
    """Whatever one rank does otherwise, all train to the end."""

    @pytest.mark.parametrize(
        ("how", "why"),
        [
            ("shape", r"rank 1 has another graph than rank 0, .*"),
            ("absent", r"rank 1 did not come to this part of the model within 4 s"),
            ("planner", r"rank 0: RuntimeError: on purpose"),
            ("partition", r"rank 1: RuntimeError: on purpose"),
        ],
    )
    def test_unplanned(self, place: Path, how: str, why: str) -> None:
        done = divergent(place, how)
        (warning,) = done.warnings
        said = r"(rank 1: )?the model trains unplanned on all ranks: "
        assert re.fullmatch(said + why, warning)
        assert "fastsa: trained unplanned" in done.err
        assert "run" not in kinds(place)

    @pytest.mark.parametrize("how", ["store", "later"])
    def test_planned(self, place: Path, how: str) -> None:
        """Only rank 0 needs the store; a graph that one rank alone meets is planned there."""
        done = divergent(place, how)
        assert done.has_plan
        assert done.warnings == []
