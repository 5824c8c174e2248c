"""The records of earlier starts, beside the store."""

from __future__ import annotations

from pathlib import Path

from fastsa.cache.compile_cache_index import MAX_RECORDS, CompileCacheEntry, CompileCacheIndex


def test_old_records_go(tmp_path: Path) -> None:
    starts = CompileCacheIndex(tmp_path / "store.db")
    start = CompileCacheEntry("fastsa.start/1", "sha256:0", "cpu", {})
    for i in range(MAX_RECORDS + 3):
        starts.put(f"{i:x}", start)
    assert len(list(starts.folder.iterdir())) == MAX_RECORDS
    assert starts.get(f"{MAX_RECORDS + 2:x}") == start
