"""Remote: objects under a URL that several machines share. Whoever asks is never kept for long."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from fastsa.errors import FastsaError, reason

T = TypeVar("T")


class Unreachable(FastsaError):
    """The place cannot be used, or does not answer in time."""


class Entry(msgspec.Struct, frozen=True):
    """An object in a folder. `bytes` is its size, as the place says."""

    name: str
    bytes: int


class Remote:
    """What lies under a URL that fsspec can open: a folder, S3, GCS.

    `patience`: seconds that callers are kept waiting, all in all; None: without end. When it is
    used up, or a call has failed, every further one raises Unreachable at once. Names are relative
    and have `/` between their parts.

    The work is done in a thread of its own: a file system that hangs cannot be called off, only
    left. Objects are put without waiting; `finish` waits for them.
    """

    def __init__(self, url: str, patience: float | None = 2.0) -> None:
        self.url = url
        self.is_read_only = False  # as was found when something was to be written
        self._patience = self._left = patience
        self._trouble: str | None = None
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._puts: list[Future[None]] = []
        self._process = os.getpid()
        self._place: tuple[Any, str] | None = None
        self._thread: threading.Thread | None = None

    def entries(self, folder: str) -> list[Entry]:
        """The objects in a folder, by name; none if there is no such folder."""
        return self._wait(self._start(lambda: self._files(folder)))

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder."""
        return self._wait(self._start(lambda: self._folders(folder)))

    def get(self, name: str, most: int) -> bytes:
        """The content of an object, but for more than `most` bytes an error."""
        return self._wait(self._start(lambda: self._get(name, most)))

    def put(self, name: str, data: bytes) -> None:
        """Begin to write an object. Those begun are written in order."""
        self._check()
        self._puts.append(self._start(lambda: self._put(name, data)))

    def finish(self) -> int:
        """Wait until everything is written. Returns how many objects were."""
        begun, self._puts = self._puts, []
        for each in begun:
            self._wait(each)
        return len(begun)

    # Waiting ----------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._process != os.getpid():
            raise Unreachable("this process is a fork of the one that asks", hint="ask there")
        if self._trouble is not None:
            raise Unreachable(self._trouble, hint="see `fastsa doctor`")

    def _start(self, work: Callable[[], T]) -> Future[T]:
        self._check()
        future: Future[T] = Future()
        self._tasks.put((work, future))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="fastsa remote", daemon=True)
            self._thread.start()
        return future

    def _wait(self, future: Future[T]) -> T:
        self._check()
        started = time.monotonic()
        try:
            return future.result(self._left)
        except Exception as error:
            timed_out = isinstance(error, TimeoutError) and not future.done()
            self._trouble = self._too_slow() if timed_out else self._why(error)
            raise Unreachable(self._trouble, hint="see `fastsa doctor`") from error
        finally:
            if self._left is not None:
                self._left = max(0.0, self._left - (time.monotonic() - started))

    def _too_slow(self) -> str:
        return f"{shown(self.url)} took longer than the {self._patience:g} s it is given in all"

    def _why(self, error: Exception) -> str:
        text = reason(error).replace(self.url, shown(self.url))
        return f"{shown(self.url)}: {text}"

    # In the thread ----------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            work, future = self._tasks.get()
            if self._trouble is not None:
                future.cancel()
                continue
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001  any file system may raise anything
                future.set_exception(error)

    def _opened(self) -> tuple[Any, str]:
        if self._place is None:
            from fsspec.core import url_to_fs  # 0.1 s, and S3's or GCS's a second more

            system, root = url_to_fs(self.url)
            self._place = system, str(root).rstrip("/")
        return self._place

    def _found(self, folder: str) -> list[dict[str, Any]]:
        system, root = self._opened()
        path = f"{root}/{folder}"
        system.invalidate_cache(path)
        try:
            return list(system.ls(path, detail=True))
        except FileNotFoundError:
            return []

    def _files(self, folder: str) -> list[Entry]:
        found = (each for each in self._found(folder) if each.get("type") == "file")
        entries = (Entry(_last(each["name"]), int(each.get("size") or 0)) for each in found)
        return sorted(entries, key=lambda entry: entry.name)

    def _folders(self, folder: str) -> list[str]:
        found = self._found(folder)
        return sorted(_last(each["name"]) for each in found if each.get("type") == "directory")

    def _get(self, name: str, most: int) -> bytes:
        system, root = self._opened()
        data = bytes(system.cat_file(f"{root}/{name}", start=0, end=most + 1))
        if len(data) > most:
            raise ValueError(f"{name} has more than {most} bytes")
        return data

    def _put(self, name: str, data: bytes) -> None:
        system, root = self._opened()
        path = f"{root}/{name}"
        try:
            try:
                system.pipe_file(path, data)
            except FileNotFoundError:
                _make_folders(system, root, name.split("/")[:-1])
                system.pipe_file(path, data)
        except OSError as error:
            if not isinstance(error, PermissionError) and error.errno != errno.EROFS:
                raise
            self.is_read_only = True  # others write, this one reads


def _make_folders(system: Any, root: str, names: list[str]) -> None:
    """Where there are folders. Never a bucket: its name may be a slip of the pen."""
    if "file" in (system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)):
        system.makedirs("/".join((root, *names)), exist_ok=True)
        return
    for level in range(1, len(names) + 1):
        with contextlib.suppress(FileExistsError):
            system.mkdir("/".join((root, *names[:level])), create_parents=False)


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def shown(url: str) -> str:
    """A URL as people may see it, without a password."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return url.replace(parts.netloc, "***@" + parts.netloc.rpartition("@")[2], 1)
