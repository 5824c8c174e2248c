"""Records of starts: whatever stands in their place, a job is not held up by it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fastsa.cache.compile_cache_index import CompileCacheEntry, CompileCacheIndex

KEY = 64 * "a"
START = CompileCacheEntry("fastsa.start/1", "sha256:" + 64 * "0", "cpu", {"order": "token"})


@pytest.fixture
def starts(tmp_path: Path) -> CompileCacheIndex:
    made = CompileCacheIndex(tmp_path / "store.db")
    made.put(KEY, START)
    return made


def record(starts: CompileCacheIndex) -> Path:
    (path,) = starts.folder.iterdir()
    return path


def test_kept(starts: CompileCacheIndex) -> None:
    assert starts.get(KEY) == START
    assert starts.get(64 * "b") is None
    assert starts.folder.stat().st_mode & 0o777 == 0o700


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def an_endless_one(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_link_to_a_good_one(path: Path) -> None:
    path.with_suffix(".other").write_bytes(b"{}")
    path.symlink_to(path.with_suffix(".other"))


def a_large_one(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    "make", [a_pipe, an_endless_one, a_link_to_a_good_one, a_large_one, a_folder]
)
def test_in_its_place(starts: CompileCacheIndex, make: Callable[[Path], None]) -> None:
    path = record(starts)
    path.unlink()
    make(path)
    assert starts.get(KEY) is None
    starts.put(KEY, START)  # without a word, whatever comes of it


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder away")
def test_another_users_folder(starts: CompileCacheIndex) -> None:
    os.chown(starts.folder, 65534, -1)
    assert starts.get(KEY) is None
    record(starts).unlink()
    starts.put(KEY, START)
    assert list(starts.folder.iterdir()) == []
