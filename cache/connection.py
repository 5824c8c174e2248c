"""One process's connection to the store's file: whole transactions, damage set aside."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from fastsa.cache import location, schema
from fastsa.errors import BadInput, StoreUnusable, warn

BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
MAGIC = b"SQLite format 3\0"
STORE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

T = TypeVar("T")

_live: weakref.WeakSet[Connection] = weakref.WeakSet()
_of_parents: list[sqlite3.Connection] = []


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


class Connection:
    """Opens the file, making it if need be, and keeps it usable.

    It is large because whatever SQLite may do to a file is met in one place.
    A file that is no database any more is renamed and a fresh one begun, with one warning; all
    else that stands in the way is a StoreUnusable. After a fork the child gets a connection of
    its own; threads take turns.
    """

    def __init__(self, path: Path, timeout: float = 10.0, *, mends: bool = True) -> None:
        self.path = path
        self._mends = mends  # else a damaged file stays, as a StoreUnusable
        self.timeout = timeout  # seconds to wait for other processes' transactions
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        _live.add(self)
        self.read(lambda connection: None)

    def close(self) -> None:
        """Close the file. Closing twice is fine; using it again opens it again."""
        with self._lock:
            if self._connection:
                self._connection.close()
            self._connection = None

    def rows(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        """The rows of one query."""
        return self.read(lambda connection: connection.execute(sql, parameters).fetchall())

    def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one write transaction: all of it is stored, or nothing."""
        return self.read(lambda connection: self._transact(connection, work))

    def attempt(self, work: Callable[[sqlite3.Connection], object], wait: float) -> bool:
        """Run `work` like `transaction` if it takes no more than `wait` seconds to begin.

        For what may be lost, like statistics: no failure of the store raises.
        """
        with self._lock:
            usual, self.timeout = self.timeout, wait
            try:
                self.transaction(work)
            except StoreUnusable:
                return False
            finally:
                self.timeout = usual
        return True

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work`; if the file proves damaged, once more on a fresh one."""
        with self._lock:
            try:
                with self._explained():
                    return work(self._opened())
            except _FileDamaged as error:
                if not self._mends:
                    raise self._unusable(f"it is damaged: {error.__cause__}") from error
                with self._explained():
                    self._set_aside()
            try:
                with self._explained():
                    return work(self._opened())
            except _FileDamaged as error:
                raise self._unusable("a fresh file is damaged as well") from error

    def alone(self, statement: str) -> None:
        """Execute a statement that must not be in a transaction, when its turn comes."""
        self.read(lambda connection: self._patiently(connection, statement))

    def give_back(self) -> None:
        """Give free pages back to the file system."""
        # Only executescript steps this statement to its end.
        self.read(lambda connection: connection.executescript("PRAGMA incremental_vacuum"))

    def shorten_log(self) -> None:
        """Write the log into the file, if nobody is reading."""
        self.read(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())

    def copy_to(self, path: Path) -> None:
        """Write a copy of one moment to a new file. Raises BadInput if there is one already."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError as error:
            raise BadInput(f"{path}: there is a file already", hint="give another name") from error
        try:
            with contextlib.closing(sqlite3.connect(path)) as copy:
                self.read(lambda connection: connection.backup(copy))
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # our own mistake
        except sqlite3.IntegrityError as error:
            raise BadInput(
                f"cannot be stored: {error}", hint="bytes and seconds must be finite, from 0 up"
            ) from error
        except OverflowError as error:
            raise BadInput(f"cannot be stored: {error}", hint="bytes must be below 2^63") from error
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        except sqlite3.DatabaseError as error:
            if _code(error) in DAMAGED:
                raise _FileDamaged from error
            raise self._unusable(self._reason(error)) from error

    def _reason(self, error: sqlite3.Error) -> str:
        if _code(error) in BUSY:
            return f"another process kept it locked for {self.timeout:g} s"
        if _code(error) == sqlite3.SQLITE_FULL:
            return "the disk is full"
        name = getattr(error, "sqlite_errorname", None)
        return f"{error} ({name})" if name else str(error)

    def _unusable(self, reason: str) -> StoreUnusable:
        return StoreUnusable(
            f"{self.path}: the store cannot be used: {reason}",
            hint="check the disk and the file's permissions, or set FASTSA_STORE to another file",
        )

    def leave_to_parent(self) -> None:
        """Forget, in a forked child, what belongs to the parent."""
        # Closing, or letting the collector close, the parent's connection would checkpoint or
        # delete its log under it; its lock may be held by a thread that does not exist here.
        if self._connection:
            _of_parents.append(self._connection)
        self._connection = None
        self._lock = threading.RLock()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        location.prepare(self.path)
        self._file = self.path.stat().st_ino
        connection = sqlite3.connect(
            self.path, timeout=self.timeout, isolation_level=None, check_same_thread=False
        )
        try:
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        connection.row_factory = sqlite3.Row
        return connection

    def _configure(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA trusted_schema = OFF")  # the file may be anybody's
        connection.execute("PRAGMA foreign_keys = OFF")  # as migrate() needs it
        if not schema.is_current(connection, str(self.path)):
            self._patiently(connection, "PRAGMA auto_vacuum = INCREMENTAL")
            if not location.on_network(self.path):
                self._patiently(connection, "PRAGMA journal_mode = WAL")
            self._transact(connection, lambda c: schema.migrate(c, str(self.path)))
        connection.execute("PRAGMA foreign_keys = ON")
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            # Safe against the death of any process; a power cut may cost the last commits.
            connection.execute("PRAGMA synchronous = NORMAL")

    def _transact(
        self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]
    ) -> T:
        # IMMEDIATE: a transaction that reads first and then finds another writer ahead of it
        # fails at once, whatever the timeout.
        self._patiently(connection, "BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise
        return result

    def _patiently(self, connection: sqlite3.Connection, statement: str) -> None:
        """Execute a statement that waits for its turn.

        SQLite's own waiting does not cover every lock it takes, and sleeps longer the longer it
        has waited: among many writers the last ones starve.
        """
        deadline = time.monotonic() + self.timeout
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            while not self._done(connection, statement, deadline):
                time.sleep(random.uniform(0.001, 0.01))
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(self.timeout * 1000)}")

    def _done(self, connection: sqlite3.Connection, statement: str, deadline: float) -> bool:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            if _code(error) not in BUSY or time.monotonic() >= deadline:
                raise
            return False
        return True

    def _set_aside(self) -> None:
        """Rename the damaged file with its log, unless another process has done so already."""
        self.close()
        with self._only_one():
            if not self.path.exists() or self.path.stat().st_ino != self._file:
                return
            if not self._looks_like_a_store():
                raise self._unusable("it is no database; fastsa leaves it alone")
            moved = self._rename_all()
        warn(f"{self.path} was damaged and is now {moved.name}; a fresh store is in its place")

    def _looks_like_a_store(self) -> bool:
        # A mistyped FASTSA_STORE may name anything, a person's script for one.
        with self.path.open("rb") as file:
            head = file.read(len(MAGIC))
        return head == MAGIC or self.path.suffix in STORE_SUFFIXES

    @contextlib.contextmanager
    def _only_one(self) -> Iterator[None]:
        # In a folder that others can write, the lock may be a link to any file.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(f"{self.path}.lock", flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _rename_all(self) -> Path:
        now = datetime.datetime.now(datetime.UTC)
        moved = Path(f"{self.path}.damaged-{now:%Y%m%dT%H%M%S.%f}")
        # The log belongs to the file: applied to a fresh one, it would damage that too.
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{moved}{suffix}")
        return moved


class _FileDamaged(Exception):
    """The file is no database, or has a damaged page."""


def _after_fork() -> None:
    for connection in list(_live):
        connection.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)
