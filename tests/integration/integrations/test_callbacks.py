"""The callbacks, in the real Trainers, in jobs with and without a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fastsa
from fastsa.cache.store import Store
from fastsa.integrations import metrics as integration
from support.fork_server import Done, ForkServer
from support.sandbox import CliSandbox

REPORTS = "real/reports.py"


def trained(done: Done) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith(("step ", "state "))]


def logged(done: Done) -> list[dict[str, Any]]:
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("logged ")]
    entries: list[dict[str, Any]] = json.loads(line.removeprefix("logged "))
    return entries


@pytest.mark.parametrize(
    ("framework", "prefix"),
    [
        ("transformers", "fastsa_"),
        pytest.param("lightning", "fastsa/", marks=pytest.mark.nightly),
    ],
)
def test_callback(
    framework: str, prefix: str, framework_server: ForkServer, tmp_path: Path
) -> None:
    """What is logged is what the run in the store says; training is as without it."""
    sandbox = CliSandbox(tmp_path, framework_server)
    plain = sandbox.plain(REPORTS, framework)
    planned = sandbox.fastsa("run", "--budget", "60%", "--time-limit", "2", REPORTS, framework)
    assert len(trained(plain)) == 11
    assert trained(planned) == trained(plain)
    assert not any(name.startswith("fastsa") for entry in logged(plain) for name in entry)
    first, *_, last = logged(planned)
    with Store.open(sandbox.place) as store:
        (row,) = store.list_items("run")
        stored = store.run(row.id)
    assert f"{prefix}measured_peak_bytes" not in first
    assert last[f"{prefix}planned"] == 1
    assert last[f"{prefix}process_budget_bytes"] == stored.process_budget_bytes
    assert last[f"{prefix}predicted_peak_bytes"] == stored.predicted_peak_bytes
    assert last[f"{prefix}measured_peak_bytes"] == stored.measured_peak_bytes
    assert last[f"{prefix}predicted_step_seconds"] == pytest.approx(stored.predicted_step_seconds)
    assert last[f"{prefix}measured_step_seconds"] > 0


def test_nothing_is_planned_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastsa.runtime.status._jobs", [])  # of tests before this one
    assert fastsa.status() is None
    assert integration.metrics("fastsa_") == {}
