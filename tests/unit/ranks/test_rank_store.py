"""The ranks' store: notes of any size, the first claim counts, and waiting ends."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from torch import nn

from fastsa.instrumentation.rank_store import RankStore
from fastsa.instrumentation.script import StopScript
from fastsa.instrumentation.synchronized_stop import SynchronizedStop
from support.rank_threads import RankThreads

HANG_SECONDS = 120.0


class TestBoard:
    def stores(self) -> list[RankStore]:
        store = dist.HashStore()
        return [RankStore(store, "test", rank=rank, ranks=2) for rank in range(2)]

    def test_a_large_note(self) -> None:
        """Larger than what the store's server takes at once."""
        server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        left = RankStore(server, "test", rank=0, ranks=2)
        client = dist.TCPStore("127.0.0.1", server.port, wait_for_workers=False)
        right = RankStore(client, "test", rank=1, ranks=2)
        note = random.Random(0).randbytes(9 * 2**20 + 1)
        right.put("note", note)
        assert left.wait("other", "note", seconds=HANG_SECONDS) == "note"
        assert left.read("note") == note

    def test_the_first_claim_counts(self) -> None:
        left, right = self.stores()
        assert [left.claim("verdict", "left"), right.claim("verdict", "right")] == ["left"] * 2

    def test_one_of_many_claims_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        threads = RankThreads(8, monkeypatch)
        for note in range(20):
            claims = threads.on_all(
                lambda rank, note=note: threads.stores[rank].claim(f"{note}", f"{rank}")  # type: ignore[misc]
            )
            assert len(set(map(str, claims))) == 1

    def test_each_counts_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        threads = RankThreads(8, monkeypatch)
        counts = threads.on_all(lambda rank: threads.stores[rank].count("accepted"))
        assert {*counts} == set(range(1, 9))

    def test_waiting_ends(self) -> None:
        left, right = self.stores()
        assert left.wait("never", seconds=0.2) is None
        assert left.wait("never", seconds=0) is None
        right.put("at last", b"")
        assert left.wait("never", "at last", seconds=HANG_SECONDS) == "at last"

    def test_who_waits_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        threads = RankThreads(2, monkeypatch)
        waiting = threads.start(0, lambda: threads.stores[0].wait("note", seconds=HANG_SECONDS))
        threads.stores[1].put("note", b"")
        assert waiting.result(HANG_SECONDS) == "note"

    def test_jobs_do_not_read_each_others_notes(self) -> None:
        store = dist.HashStore()
        left, right = (RankStore(store, name, rank=0, ranks=2) for name in ("job 0", "job 1"))
        left.put("note", b"left")
        assert not right.has("note")


class TestEndTogether:
    """The ranks take turns here; `step` is a rank's step, and whether the script ends with it."""

    @pytest.fixture
    def step(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
        threads = RankThreads(2, monkeypatch)
        ends = [SynchronizedStop(), SynchronizedStop()]
        optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters())

        def step(rank: int, *, is_recorded: bool = False) -> bool:
            def run() -> bool:
                with ends[rank] as end:
                    try:
                        if is_recorded:
                            end.end()
                        optimizer.step()
                    except StopScript:
                        return True
                return False

            return threads.on(rank, run)

        return step

    def test_after_the_same_step(self, step: Callable[..., bool]) -> None:
        assert [step(0), step(1), step(0), step(1)] == [False] * 4
        assert not step(1)  # is through with the step that is recorded
        assert not step(0, is_recorded=True)
        assert [step(0), step(1)] == [True, True]

    def test_whoever_is_behind_goes_on(self, step: Callable[..., bool]) -> None:
        assert not step(0, is_recorded=True)
        assert step(0)
        assert [step(1), step(1)] == [False, True]

    def test_alone_it_ends_at_once(self) -> None:
        with SynchronizedStop() as end, pytest.raises(StopScript):
            end.end()
