"""Place: where a store's daemon listens. Only this user can reach it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from pathlib import Path

import msgspec

from fastsa.errors import FastsaError

RUNTIME = "XDG_RUNTIME_DIR"
LONGEST_PATH = 107  # bytes, of a socket's


class Place(msgspec.Struct, frozen=True):
    """The files of one store's daemon. The lock is held as long as it runs, and says where the
    socket is.
    """

    socket: Path
    lock: Path
    log: Path

    def is_taken(self) -> bool:
        """Whether a daemon runs."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def take(self) -> int:
        """Become the one daemon: the lock's descriptor. Raises FastsaError if there is another."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.lock, flags, 0o600)
        except OSError as error:
            raise FastsaError(
                f"{self.lock}: {error.strerror}", hint="see that the store's folder is yours"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise FastsaError(
                "a daemon runs for this store already", hint="see 'fastsa daemon status'"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, os.fsencode(self.socket))
        return descriptor


def place_of(store: Path) -> Place:
    """The place of the daemon that a store has, if it has one. Makes nothing."""
    own = own_place(store)
    return Place(_said(own.lock) or own.socket, own.lock, own.log)


def own_place(store: Path) -> Place:
    """The place of a daemon that this process would be."""
    path = store.resolve()
    # A socket's path may have 107 bytes, a store's any number.
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    # The runtime directory may be another for each login, the store's folder is not.
    return Place(
        _folder() / f"{name}.sock", Path(f"{path}.daemon.lock"), Path(f"{path}.daemon.log")
    )


def _said(lock: Path) -> Path | None:
    """Where a daemon has said that it listens; None if nobody of this user has."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            return None
        path = Path(os.fsdecode(os.read(descriptor, LONGEST_PATH)))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return path if path.is_absolute() and "\0" not in str(path) else None


def _folder() -> Path:
    runtime = os.environ.get(RUNTIME)
    if runtime and Path(runtime).is_absolute():
        return Path(runtime) / "fastsa"
    return Path(tempfile.gettempdir()) / f"fastsa-{os.getuid()}"


def make_private(folder: Path) -> None:
    """Make the folder, or see that the one there is this user's alone. Raises FastsaError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FastsaError(
            f"{folder}: cannot be made: {error.strerror}",
            hint=f"set {RUNTIME} to a folder of yours",
        ) from error
    if not is_private(folder):
        raise FastsaError(
            f"{folder}: others may enter it",
            hint=f"remove it, or set {RUNTIME} to a folder of yours",
        )


def is_private(folder: Path) -> bool:
    """Whether a folder is no link, this user's, and closed to others."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    is_open = stat.S_IMODE(found.st_mode) & 0o077
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not is_open
