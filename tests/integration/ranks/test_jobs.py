"""Jobs of two ranks, as processes: the same bits as without fastsa, and nobody hangs.

What the ranks say to each other is in `test_negotiation.py`; more jobs are in the nightly tier.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.fork_server import ForkServer
from support.torchrun import Ran, forked, kinds, torchrun

RUN = ("-m", "fastsa", "run", "--time-limit", "2", "--rank-timeout", "120", "--budget", "60%")
DATA_PARALLEL = ("ddp.py", "0.1", "find_unused_parameters")
SHARDED = ("fsdp.py",)
DIVERGENT = ("divergent_ranks.py", "branch")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def plain(server: ForkServer, folder: Path, *command: str) -> list[str]:
    """What a script prints without fastsa."""
    done = forked(server, folder, *command)
    assert done.code == 0, done.err
    assert len(done.lines) > 10
    return done.lines


def well(done: Ran) -> list[str]:
    """What a job prints that has ended well."""
    assert done.code == 0, done.err
    return done.lines


def test_data_parallel_with_dropout(fork_server: ForkServer, place: Path) -> None:
    """Under torchrun itself."""
    done = torchrun(*RUN, *DATA_PARALLEL, store=place)
    assert well(done) == plain(fork_server, place.parent, *DATA_PARALLEL)
    assert done.has_plan
    assert done.warnings == []
    assert set(kinds(place)) == {"graph", "plan", "run"}
    assert kinds(place).count("run") == 1


def test_sharded_blocks_compiled_by_the_script(fork_server: ForkServer, place: Path) -> None:
    done = forked(fork_server, place.parent, *SHARDED, "6MiB", store=place)
    assert well(done) == plain(fork_server, place.parent, *SHARDED)
    assert set(kinds(place)) == {"graph", "plan", "run"}
    assert kinds(place).count("run") == 1


def test_a_rank_with_another_graph(fork_server: ForkServer, place: Path) -> None:
    """All train to the end, unplanned."""
    done = forked(fork_server, place.parent, *RUN, *DIVERGENT, store=place)
    assert well(done) == plain(fork_server, place.parent, *DIVERGENT)
    (warning,) = done.warnings
    said = "the model trains unplanned on all ranks: rank 1 has another graph than rank 0"
    assert re.match(said, warning)
    assert "fastsa: trained unplanned" in done.err
    assert "run" not in kinds(place)
