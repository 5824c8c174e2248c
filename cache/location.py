"""Where the store is, and what that place allows."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fastsa import config
from fastsa.errors import BadInput, StoreUnusable

ENVIRONMENT_VARIABLE = "FASTSA_STORE"

# Write-ahead logging needs memory shared by all processes that have the file open, which a file
# system of several hosts cannot give.
NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4"}
    | {"ocfs2", "pvfs2", "smb3", "smbfs", "wekafs"}
    | {"fuse.gcsfuse", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"}
)


def default_path() -> Path:
    """The setting `store`, else `fastsa/store.db` in the user's data directory.

    Raises StoreUnusable when there is no such directory, or the setting makes no sense.
    """
    try:
        chosen = config.user_value("store").value
    except BadInput as error:
        raise StoreUnusable(error.message, hint=error.hint) from error
    if chosen:
        return absolute(Path(chosen))
    import platformdirs  # 25 ms, for nothing when the variable is set

    try:
        directory = Path(platformdirs.user_data_dir("fastsa", appauthor=False))
    except RuntimeError as error:
        raise _homeless() from error
    if not directory.is_absolute():
        raise _homeless()
    return directory / "store.db"


def _homeless() -> StoreUnusable:
    return StoreUnusable(
        "there is no place for the store: this user has no home directory",
        hint=f"set {ENVIRONMENT_VARIABLE} to a file you can write",
    )


def absolute(path: Path) -> Path:
    """`path` with `~` expanded, absolute: the script may change directory later."""
    try:
        return path.expanduser().absolute()
    except (RuntimeError, OSError, ValueError) as error:
        raise StoreUnusable(
            f"{str(path)!r} is no place for the store: {error}",
            hint=f"set {ENVIRONMENT_VARIABLE} to a file",
        ) from error


def prepare(path: Path) -> None:
    """Make the directory and the file, for this user's eyes only. Raises StoreUnusable."""
    try:
        _make_private(path.parent)
        # SQLite gives -wal and -shm the mode of the file itself.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StoreUnusable(
            f"{path}: the store cannot be opened: {reason}",
            hint=f"check the folder, or set {ENVIRONMENT_VARIABLE} to a file you can write",
        ) from error
    check_owner(path, found)


def check_owner(path: Path, found: os.stat_result) -> None:
    """Refuse what another user has put there, or anybody may write; root may open all."""
    if os.geteuid() and found.st_uid != os.geteuid():
        raise StoreUnusable(
            f"{path}: this store is another user's (number {found.st_uid})",
            hint=f"copy it and import the copy, or set {ENVIRONMENT_VARIABLE} to a file of yours",
        )
    if stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IWOTH:
        raise StoreUnusable(
            f"{path}: anybody may write this store", hint=f"look at it, then: chmod 600 {path}"
        )


def _make_private(directory: Path) -> None:
    if directory.is_dir():
        return  # someone's choice: its mode is theirs
    _make_private(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)


def on_network(path: Path) -> bool:
    """Whether `path` is on a file system that several hosts share."""
    return file_system(path) in NETWORK_FILE_SYSTEMS


def file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the file system that `path` is on; empty where the system does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        target = path.resolve()
    except OSError:
        return ""
    kinds: dict[str, str] = {}
    for line in lines:
        mount, _, rest = line.partition(" - ")
        kinds[mount.split()[4].replace("\\040", " ")] = rest.split()[0]  # later mounts hide earlier
    places = (str(place) for place in (target, *target.parents))
    return next((kinds[place] for place in places if place in kinds), "")
