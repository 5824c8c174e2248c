"""A recording ends when Gloo's threads are asleep: they write into it to the last."""

from __future__ import annotations

import ctypes
import hashlib
import threading
import time

import pytest

from fastsa.profiler import kineto

PR_SET_NAME = 15


class LikeGloo:
    """A thread of that name: at work for some rounds, then asleep. At work it needs no GIL."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.is_idle, self.end = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        while not kineto._gloo_threads():
            time.sleep(0.001)

    def run(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_NAME, b"pt_gloo_runloop", 0, 0, 0)
        hashlib.pbkdf2_hmac("sha256", b"", b"", self.rounds)
        self.is_idle.set()
        self.end.wait()

    def __enter__(self) -> LikeGloo:
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.thread.join()
        while kineto._gloo_threads():  # Python's part of it ends first
            time.sleep(0.001)


def test_it_waits_for_gloos_threads() -> None:
    with LikeGloo(rounds=500_000) as thread:  # 0.2 s on a fast processor
        kineto._settle()
        assert thread.is_idle.wait(0.02)


def test_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kineto, "SETTLE_SECONDS", 0.1)
    with LikeGloo(rounds=2_500_000) as thread:  # 1 s
        kineto._settle()
        assert not thread.is_idle.is_set()


def test_without_gloo() -> None:
    assert kineto._gloo_threads() == {}
    kineto._settle()
