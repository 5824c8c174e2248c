"""The records of earlier starts, beside the store."""

from __future__ import annotations

from pathlib import Path

from fastsa.cache.starts import MAX_RECORDS, Start, Starts


def test_old_records_go(tmp_path: Path) -> None:
    starts = Starts(tmp_path / "store.db")
    start = Start("fastsa.start/1", "sha256:0", "cpu", {})
    for i in range(MAX_RECORDS + 3):
        starts.put(f"{i:x}", start)
    assert len(list(starts.folder.iterdir())) == MAX_RECORDS
    assert starts.get(f"{MAX_RECORDS + 2:x}") == start
