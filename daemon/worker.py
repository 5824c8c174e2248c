"""Worker: the process that plans for the daemon. It ends when there is nothing left to do.

A process of its own, so that one that is killed, or runs out of memory, takes nothing along:
its request is taken up once more, then marked as failed.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from fastsa.cache.requests import Request, RequestKind
from fastsa.cache.store import Store
from fastsa.daemon.work import WorkLimits, work_on
from fastsa.errors import FastsaError
from fastsa.planner.budget import format_bytes

LEASE_SECONDS = 60.0
RENEW_SECONDS = 15.0
NICE = 19
KINDS: tuple[RequestKind, ...] = ("plan", "curve", "improve")

log = logging.getLogger("fastsa.worker")


class Worker:
    """Takes one request after the other. `stop` may be called from a signal handler."""

    def __init__(self, store: Store, seconds: float, threads: int) -> None:
        self._store = store
        self._cancel = threading.Event()
        self._effort = WorkLimits(self._cancel, seconds, threads)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Work until the queue is empty or `stop` is called."""
        while not self._stopped.is_set():
            request = self._store.requests.claim(LEASE_SECONDS, KINDS)
            if request is None:
                return
            self._cancel.clear()
            if self._stopped.is_set():  # the signal came in between
                self._store.requests.release(request.id)
                return
            with self._kept(request):
                self._do(request)

    def _do(self, request: Request) -> None:
        requests = self._store.requests
        try:
            plan_id = work_on(self._store, request, self._effort)
        except MemoryError:
            self._failed(request, "not enough memory")
        except FastsaError as error:
            if self._cancel.is_set():
                requests.release(request.id)
            else:
                self._failed(request, error.message)
        else:
            if self._cancel.is_set():  # what it found is stored, and it goes on another time
                requests.release(request.id)
            else:
                requests.finish(request.id, plan_id)
                self._store.count(f"daemon.{request.kind}.{'made' if plan_id else 'nothing'}")
            log.info("%s: %s", described(request), plan_id[:12] if plan_id else "nothing better")

    def _failed(self, request: Request, why: str) -> None:
        self._store.requests.fail(request.id, why)
        self._store.count(f"daemon.{request.kind}.failed")
        log.info("%s: failed: %s", described(request), why)

    @contextlib.contextmanager
    def _kept(self, request: Request) -> Iterator[None]:
        """Renew the lease while the search goes on; end the search if the request is lost."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(RENEW_SECONDS):
                with contextlib.suppress(FastsaError):
                    if not self._store.requests.renew(request.id, LEASE_SECONDS):
                        self._cancel.set()

        keeper = threading.Thread(target=renew, daemon=True)
        keeper.start()
        try:
            yield
        finally:
            ended.set()
            keeper.join()

    def stop(self) -> None:
        """End the search with what is found so far, and the work."""
        self._stopped.set()
        self._cancel.set()


def described(request: Request) -> str:
    """A request in a few words."""
    budget = (
        f" within {format_bytes(request.step_budget_bytes)}" if request.step_budget_bytes else ""
    )
    return f"{request.kind} {request.key.graph[:12]}{budget}"


def main() -> None:
    """`python -m fastsa.daemon.worker STORE`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="of one search")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", type=int, default=0, help="bytes of address space, 0: any")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.nice(NICE)
    if arguments.memory:
        resource.setrlimit(resource.RLIMIT_AS, (arguments.memory, arguments.memory))
    with Store.open(arguments.store) as store:
        worker = Worker(store, arguments.seconds, arguments.threads)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        threading.Thread(target=_stop_without_daemon, args=(worker,), daemon=True).start()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon is told, and tells
        worker.run()


def _stop_without_daemon(worker: Worker) -> None:
    """However the daemon ends, the pipe from it does: nobody could stop the worker after that."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    worker.stop()


if __name__ == "__main__":
    main()
