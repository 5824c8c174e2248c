"""Compile cache index: what is known of a graph before it is traced, in files beside the store.

A start's record says which captured graph a traced program came to, and under which token torch's
cache of compiled graphs may hold it, for each plan. It only ever saves time: what cannot be read is
as if it were not there, and what it says is checked against what torch's cache returns.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Literal

import msgspec

MAX_RECORDS = 512  # the oldest go
MAX_BYTES = 1 << 20  # of one


class CompileCacheEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`captured`: the captured graph's hash; `tokens`: plan id -> token in torch's cache key."""

    schema: Literal["fastsa.start/1"]
    captured: str
    device: str
    tokens: dict[str, str]


class CompileCacheIndex:
    """The records beside the store at `store`, one file per key (hex). No method raises OSError."""

    def __init__(self, store: Path) -> None:
        self.folder = store.with_name(f"{store.name}.starts")

    def get(self, key: str) -> CompileCacheEntry | None:
        """The record of a key, None if there is none that can be read."""
        try:
            return msgspec.json.decode(self._read(self._path(key)), type=CompileCacheEntry)
        except (OSError, msgspec.MsgspecError, UnicodeError):
            return None

    def put(self, key: str, start: CompileCacheEntry) -> None:
        """Keep a record; without a word if it cannot be kept."""
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._check_owner()
            self._write(self._path(key), msgspec.json.encode(start))
            self._prune()
        except OSError:
            return

    def _read(self, path: Path) -> bytes:
        """Of a plain file in the user's own folder: a pipe would never end, nor would a device."""
        self._check_owner()
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123  of a descriptor
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(f"{path} is no file")
            return file.read(MAX_BYTES)

    def _check_owner(self) -> None:
        if self.folder.lstat().st_uid != os.getuid():
            raise PermissionError(f"{self.folder} is another user's")

    def _path(self, key: str) -> Path:
        assert re.fullmatch("[0-9a-f]+", key)
        return self.folder / f"{key}.json"

    def _write(self, path: Path, data: bytes) -> None:
        # Beside it and then renamed: another process reads the old one or the new one.
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix="new-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(path)

    def _prune(self) -> None:
        kept = sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[MAX_RECORDS:]:
            path.unlink(missing_ok=True)
