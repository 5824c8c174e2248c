"""A recording ends when Gloo's threads are asleep: they write into it to the last."""

from __future__ import annotations

import ctypes
import threading
import time

from fastsa.profiler import kineto

PR_SET_NAME = 15


def like_gloo(busy: threading.Event, end: threading.Event) -> None:
    """A thread of that name: at work until told, then asleep."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, b"pt_gloo_runloop", 0, 0, 0)
    while not busy.is_set():
        time.sleep(0.0005)
    end.wait()


def test_it_waits_for_gloos_threads() -> None:
    idle, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=like_gloo, args=(idle, end))
    thread.start()
    while not kineto._gloo_threads():
        time.sleep(0.001)
    threading.Timer(0.2, idle.set).start()
    kineto._settle()
    assert idle.is_set()
    end.set()
    thread.join()


def test_not_for_ever() -> None:
    idle, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=like_gloo, args=(idle, end))
    thread.start()
    while not kineto._gloo_threads():
        time.sleep(0.001)
    kineto._settle()
    assert not idle.is_set()
    idle.set()
    end.set()
    thread.join()


def test_without_gloo() -> None:
    assert kineto._gloo_threads() == {}
    kineto._settle()
