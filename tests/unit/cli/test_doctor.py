"""`fastsa doctor`: it finds what is wrong, says what to do, and changes nothing."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fastsa.cache.store import Store
from support.commands import Fastsa, Filled
from support.fork_server import Done


def found(done: Done, about: str) -> list[dict[str, Any]]:
    findings = json.loads(done.stdout)["findings"]
    return [each for each in findings if each["about"] == about]


def test_a_machine_without_a_store(fastsa: Fastsa, place: Path) -> None:
    done = fastsa("doctor", "--json")
    assert done.returncode == 0, done.stdout
    assert [each["state"] for each in found(done, "core") + found(done, "torch")] == ["ok", "ok"]
    (store,) = found(done, "store")
    assert store["text"] == f"{place} will be made"
    assert not place.exists()


def test_a_store(fastsa: Fastsa, filled: Filled, place: Path) -> None:
    before = place.read_bytes()
    files = sorted(place.parent.iterdir())
    told = fastsa("doctor").stdout
    assert f"ok      store     {place}, " in told
    assert "journal of writes ahead (WAL)" in told
    assert place.read_bytes() == before
    assert sorted(place.parent.iterdir()) == files


def test_a_store_in_use(fastsa: Fastsa, filled: Filled, place: Path) -> None:
    """What is in the log alone is seen, too."""
    with Store.open(place) as store:
        store.add_plan(filled.plan, filled.key)
        assert Path(f"{place}-wal").exists()
        (finding,) = found(fastsa("doctor", "--json"), "store")
    assert finding["state"] == "ok"


@pytest.mark.parametrize(
    ("runtime", "said"),
    [("x" * 100, "is too long for a socket"), ("open", "others may enter")],
)
def test_a_runtime_folder(fastsa: Fastsa, tmp_path: Path, runtime: str, said: str) -> None:
    folder = tmp_path / runtime
    (folder / "fastsa").mkdir(parents=True)
    (folder / "fastsa").chmod(0o755)
    done = fastsa("doctor", "--json", XDG_RUNTIME_DIR=str(folder))
    assert done.returncode == 1
    (finding,) = found(done, "runtime")
    assert said in finding["text"]
    assert finding["advice"]


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("PRAGMA user_version = 999", "written by a newer fastsa"),
        ("PRAGMA application_id = 7", "a database of another program"),
    ],
)
def test_another_store(
    fastsa: Fastsa, filled: Filled, place: Path, statement: str, text: str
) -> None:
    with closing(sqlite3.connect(place)) as connection:
        connection.execute(statement)
    done = fastsa("doctor", "--json")
    assert done.returncode == 1
    (store,) = found(done, "store")
    assert text in store["text"]
    assert store["advice"]


def test_garbage(fastsa: Fastsa, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"garbage" * 1000)
    place.chmod(0o666)
    done = fastsa("doctor", "--json")
    assert done.returncode == 1
    assert any(each["state"] == "problem" for each in found(done, "store"))
    assert place.read_bytes() == b"garbage" * 1000


def test_others_may_write(fastsa: Fastsa, filled: Filled, place: Path) -> None:
    place.chmod(0o666)
    done = fastsa("doctor", "--json")
    assert done.returncode == 1
    assert (
        next(each["advice"] for each in found(done, "store"))
        == f"Look at it, then: chmod 600 {place}."
    )


def test_no_place(fastsa: Fastsa) -> None:
    done = fastsa("doctor", "--json", FASTSA_STORE="/dev/null/store.db")
    assert done.returncode == 1
    assert found(done, "store")[0]["state"] == "problem"


def test_settings(fastsa: Fastsa) -> None:
    (config,) = found(fastsa("doctor", "--json", FASTSA_SEED="3"), "config")
    assert config["text"] == "set: seed, store"
    done = fastsa("doctor", "--json", FASTSA_SEED="x")
    assert done.returncode == 1
    (config,) = found(done, "config")
    assert "FASTSA_SEED: 'x'" in config["text"]


def test_a_remote(fastsa: Fastsa, tmp_path: Path) -> None:
    assert found(fastsa("doctor", "--json"), "remote") == []
    (remote,) = found(fastsa("doctor", "--json", FASTSA_REMOTE=str(tmp_path)), "remote")
    assert remote["state"] == "ok"
    assert "plans for 0 graphs" in remote["text"]
    done = fastsa("doctor", "--json", FASTSA_REMOTE="nonsense://bucket")
    assert done.returncode == 1
    assert "Protocol not known" in found(done, "remote")[0]["text"]
