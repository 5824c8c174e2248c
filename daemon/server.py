"""Server: listens, answers, and sees that a worker is there while there is work.

It imports neither torch nor the planner: it may run for months beside jobs that need the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from fastsa.cache.store import Store
from fastsa.daemon import metrics, protocol
from fastsa.daemon.place import Place, make_private, own_place
from fastsa.daemon.protocol import Answer, Question
from fastsa.errors import FastsaError, StoreUnusable
from fastsa.instrumentation.nvml import Device, devices
from fastsa.version import __version__

LOOK_SECONDS = 2.0  # between two looks for requests that nobody has told of
PUBLISH_SECONDS = 5.0  # between two writings of the metrics
ANSWER_SECONDS = 5.0  # for whoever asks to ask
STOP_SECONDS = 10.0  # for a worker to keep what it has
LONGEST_PAUSE = 60.0  # seconds, after workers that died at once
LONGEST_YIELD = 60.0  # seconds
WORKER_BYTES = 4 << 30
_PEER = struct.Struct("3i")  # pid, uid, gid of SO_PEERCRED

log = logging.getLogger("fastsa.daemon")


class Server:
    """The daemon of one store. Seconds of one search, threads, bytes: the worker's bounds.

    With `only_asked` it plans what jobs ask for, else what they use as well.
    """

    def __init__(
        self,
        store: Store,
        *,
        seconds: float = 60.0,
        threads: int = 1,
        memory_bytes: int = WORKER_BYTES,
        only_asked: bool = False,
    ) -> None:
        self._store = store
        self._agenda = None if only_asked else store.agenda
        self._bounds = {"seconds": seconds, "threads": threads, "memory": memory_bytes}
        self._started = time.monotonic()
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._worker: asyncio.subprocess.Process | None = None
        self._trouble: str | None = None
        self._metrics_file: Path | None = None
        self._devices: tuple[Device, ...] = ()
        self._looked = -math.inf
        self._yields_until = 0.0  # by the monotonic clock
        self._yields = asyncio.Event()

    async def run(self, metrics_file: Path | None = None) -> None:
        """Serve until stopped. Raises FastsaError if there is a daemon already."""
        place = own_place(self._store.path)
        make_private(place.socket.parent)
        lock = place.take()
        self._metrics_file = metrics_file
        try:
            await self._serve(place)
        finally:
            os.close(lock)

    async def _serve(self, place: Place) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        place.socket.unlink(missing_ok=True)  # of one that died: the lock is ours
        server = await asyncio.start_unix_server(self._connected, place.socket)
        place.socket.chmod(0o600)
        log.info("daemon %d listens for %s", os.getpid(), self._store.path)
        publishing = asyncio.create_task(self._publish())
        try:
            async with server:
                await self._work()
        finally:
            publishing.cancel()
            place.socket.unlink(missing_ok=True)
            log.info("daemon %d has ended", os.getpid())

    # Working ----------------------------------------------------------------------------------

    async def _work(self) -> None:
        pause = 1.0
        while not self._stop.is_set():
            self._wake.clear()
            if time.monotonic() < self._yields_until:
                await self._idle(min(LOOK_SECONDS, self._yields_until - time.monotonic()))
            elif await self._has_work():
                pause = 1.0 if await self._worked() else min(2 * pause, LONGEST_PAUSE)
                if pause > 1:
                    await self._idle(pause)
            else:
                await self._idle(LOOK_SECONDS)

    async def _idle(self, seconds: float) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._stop, self._wake)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()

    async def _has_work(self) -> bool:
        try:
            found = await asyncio.to_thread(self._is_called_for)
        except StoreUnusable as error:
            self._tell_trouble(error.message)
            return False
        self._trouble = None
        return found

    def _is_called_for(self) -> bool:
        requests = self._store.requests
        if requests.is_called_for():
            return True
        worth = self._agenda.next() if self._agenda else None
        if worth is not None:
            requests.put(worth.kind, worth.key, worth.step_budget_bytes, anew=True)
        return worth is not None

    def _tell_trouble(self, text: str) -> None:
        if text != self._trouble:
            log.warning("%s", text)
        self._trouble = text

    async def _worked(self) -> bool:
        """Let a worker empty the queue; whether it ended as it should."""
        command = [sys.executable, "-m", "fastsa.daemon.worker", str(self._store.path)]
        for name, bound in self._bounds.items():
            command += [f"--{name}", str(bound)]
        self._yields.clear()
        self._worker = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        relay = asyncio.create_task(self._relay(self._worker))
        try:
            ended = asyncio.create_task(self._worker.wait())
            called = [asyncio.create_task(each.wait()) for each in (self._stop, self._yields)]
            await asyncio.wait([ended, *called], return_when=asyncio.FIRST_COMPLETED)
            for each in called:
                each.cancel()
            if not ended.done():
                await self._end(self._worker)
            code = await ended
            await relay
        finally:
            self._worker = None
        if self._stop.is_set() or self._yields.is_set():
            return True
        if code:
            log.warning("a worker ended with %d", code)
        return code == 0

    async def _relay(self, worker: asyncio.subprocess.Process) -> None:
        """What a worker says belongs into the log, wherever that is."""
        assert worker.stderr is not None
        with contextlib.suppress(ValueError):  # a line without end
            while line := await worker.stderr.readline():
                log.info("%s", line.decode(errors="replace").rstrip())

    async def _end(self, worker: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            worker.terminate()
        try:
            await asyncio.wait_for(worker.wait(), STOP_SECONDS)
        except TimeoutError:
            worker.kill()

    async def _publish(self) -> None:
        """Write the metrics for node_exporter again and again, whole or not at all."""
        file = self._metrics_file
        while file is not None:
            try:
                text = await asyncio.to_thread(self._metrics)
                part = file.with_name(f"{file.name}.{os.getpid()}")
                part.write_text(text, encoding="utf-8")
                part.replace(file)
            except (OSError, StoreUnusable) as error:
                self._tell_trouble(f"the metrics are not written: {error}")
            await asyncio.sleep(PUBLISH_SECONDS)

    # Answering --------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with _closing(writer), asyncio.timeout(ANSWER_SECONDS):
                if _peer(writer) != os.getuid():
                    return
                writer.write(protocol.encode(await self._answered(reader)))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # whoever asked is gone or slow

    async def _answered(self, reader: asyncio.StreamReader) -> Answer:
        try:
            size = protocol.length(await reader.readexactly(protocol.HEADER.size))
            asked = protocol.question(await reader.readexactly(size))
        except protocol.Unreadable as error:
            return protocol.Refused(str(error))
        try:
            return await self._answer(asked)
        except FastsaError as error:
            return protocol.Refused(error.message)

    async def _answer(self, asked: Question) -> Answer:
        if isinstance(asked, protocol.Improve):
            requests = self._store.requests
            await asyncio.to_thread(requests.put, "improve", asked.key, asked.step_budget_bytes)
            self._wake.set()
            return protocol.Done()
        if isinstance(asked, protocol.Yield):
            seconds = min(max(asked.seconds, 0.0), LONGEST_YIELD)
            self._yields_until = max(self._yields_until, time.monotonic() + seconds)
            self._yields.set()
            return protocol.Done()
        if isinstance(asked, protocol.Stop):
            self._stop.set()
            return protocol.Done()
        if isinstance(asked, protocol.AskMetrics):
            return protocol.Text(await asyncio.to_thread(self._metrics))
        return await asyncio.to_thread(self._status)

    def _status(self) -> protocol.DaemonStatus:
        requests = self._store.requests
        running = [each for each in requests.latest() if each.state == "running"]
        doing = [f"{each.kind} {each.key.graph[:12]}" for each in running]
        return protocol.DaemonStatus(
            process=os.getpid(),
            store=str(self._store.path),
            fastsa=__version__,
            uptime_seconds=time.monotonic() - self._started,
            memory_bytes=_resident_bytes(),
            requests=requests.counts(),
            doing=", ".join(doing) or None,
            trouble=self._trouble,
            devices=self._look_at_devices(),
        )

    def _look_at_devices(self) -> tuple[Device, ...]:
        """Those of a moment ago: to begin with NVML takes it longer than an answer may."""
        if time.monotonic() - self._looked > PUBLISH_SECONDS:
            self._devices = devices()
            self._looked = time.monotonic()
        return self._devices

    def _metrics(self) -> str:
        facts = self._store.path.stat()
        return metrics.exposition(self._status(), self._store.counters(), facts.st_size)


@contextlib.asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _peer(writer: asyncio.StreamWriter) -> int:
    """The user at the other end."""
    connection = writer.get_extra_info("socket")
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(found)[1])


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
