"""A recording ends when Gloo's threads are asleep: they write into it to the last."""

from __future__ import annotations

import ctypes
import hashlib
import threading
import time

import pytest

from fastsa.instrumentation import kineto

PR_SET_NAME = 15
NAME = "gloo_of_a_test"


@pytest.fixture(autouse=True)
def only_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gloo's own threads, which jobs of other tests have left in this process, do not count."""
    monkeypatch.setattr(kineto, "_GLOO", NAME)


class LikeGloo:
    """A thread of that name: at work until it may rest, then asleep. At work it needs no GIL."""

    def __init__(self) -> None:
        self.may_rest, self.rests, self.end = (threading.Event() for _ in range(3))
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        while not kineto._gloo_threads():
            time.sleep(0.001)

    def run(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_NAME, NAME.encode(), 0, 0, 0)
        while not self.may_rest.is_set():
            hashlib.pbkdf2_hmac("sha256", b"", b"", 50_000)
        self.rests.set()
        self.end.wait()

    def __enter__(self) -> LikeGloo:
        return self

    def __exit__(self, *_: object) -> None:
        self.may_rest.set()
        self.end.set()
        self.thread.join()
        while kineto._gloo_threads():  # Python's part of it ends first
            time.sleep(0.001)


def test_it_waits_for_gloos_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kineto, "SETTLE_SECONDS", 60.0)
    looks = 0

    def look() -> dict[str, tuple[str, str]]:
        nonlocal looks
        looks += 1
        if looks == 20:
            thread.may_rest.set()
        return gloo_threads()

    gloo_threads = kineto._gloo_threads
    with LikeGloo() as thread, monkeypatch.context() as patched:
        patched.setattr(kineto, "_gloo_threads", look)
        kineto._settle()
        assert thread.rests.is_set()
        assert looks > 20


def test_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kineto, "SETTLE_SECONDS", 0.05)
    with LikeGloo() as thread:
        hangs = threading.Timer(60, thread.may_rest.set)
        hangs.start()
        kineto._settle()
        hangs.cancel()
        assert not thread.may_rest.is_set()


def test_without_gloo() -> None:
    assert kineto._gloo_threads() == {}
    kineto._settle()
