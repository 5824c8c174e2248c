"""The benchmark against other ways to train in less memory runs, and compares like with like."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.paths import ROOT

PEERS = ROOT / "benchmarks" / "peers.py"


def test_peers(tmp_path: Path) -> None:
    small = ["--layers=2", "--width=64", "--length=64", "--batch=2", "--rounds=2"]
    outputs = [f"--json={tmp_path / 'peers.json'}", f"--picture={tmp_path / 'peers.png'}"]
    done = subprocess.run(
        [sys.executable, PEERS, *small, "--time-limit=0.5", "--ways=checkpoint", *outputs],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (contest,) = json.loads((tmp_path / "peers.json").read_text())["contests"]
    assert contest["missing"] == []
    rows = {(row["variant"]["way"], row["variant"]["budget"]): row for row in contest["rows"]}
    peaks = {way: row["peak_bytes"] for (way, _), row in rows.items() if way != "fastsa"}
    assert set(peaks) == {"eager", "checkpoint"}
    assert peaks["checkpoint"] < peaks["eager"]
    ours = {budget: row for (way, budget), row in rows.items() if way == "fastsa"}
    assert set(ours) == set(peaks.values())
    for budget, row in ours.items():
        assert row["peak_bytes"] <= budget * 1.01
        assert row["loss"] == rows["eager", None]["loss"]
    assert "checkpoint per layer" in done.stdout
    assert (tmp_path / "peers.png").stat().st_size > 0
