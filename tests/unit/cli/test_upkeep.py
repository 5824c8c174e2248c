"""`fastsa store`: info, check, gc, vacuum, export, import, stats."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fastsa.cache import owner
from fastsa.cache.store import Store
from fastsa.planner.solve import plan
from support import builders
from support.commands import Fastsa, Filled, only_json


def spoil(place: Path, table: str) -> None:
    """Change one byte in the middle of a payload, as a disk may."""
    with closing(sqlite3.connect(place)) as connection, connection:
        (number, payload) = connection.execute(f"SELECT number, payload FROM {table}").fetchone()
        middle = len(payload) // 2
        changed = payload[:middle] + bytes([payload[middle] ^ 1]) + payload[middle + 1 :]
        connection.execute(f"UPDATE {table} SET payload = ? WHERE number = ?", [changed, number])


def age(place: Path, *tables: str) -> None:
    """Let rows be a year old."""
    with closing(sqlite3.connect(place)) as connection, connection:
        for table in tables:
            connection.execute(f"UPDATE {table} SET created = '2020-01-01T00:00:00+00:00'")


ALL = ("profiles", "graphs", "plans", "runs", "verdicts")


class TestInfo:
    def test_for_people_and_programs(self, fastsa: Fastsa, filled: Filled, place: Path) -> None:
        told = fastsa("store", "info").stdout
        facts = only_json(fastsa("store", "info", "--json"))
        assert told.startswith(f"{place}\n")
        assert (facts["path"], facts["journal"]) == (str(place), "wal")
        assert facts["rows"]["plans"] == 1
        assert 0 < facts["content_bytes"] <= facts["file_bytes"] + facts["log_bytes"]


class TestCheck:
    def test_all_is_well(self, fastsa: Fastsa, filled: Filled) -> None:
        done = fastsa("store", "check")
        assert (done.returncode, done.stdout) == (0, "All is well.\n")

    @pytest.mark.parametrize("table", ALL)
    def test_a_changed_byte(self, fastsa: Fastsa, filled: Filled, place: Path, table: str) -> None:
        spoil(place, table)
        found = json.loads(fastsa("store", "check", "--json").stdout)["flaws"]
        assert [flaw["kind"] for flaw in found] == [table.removesuffix("s")]
        assert fastsa("store", "check", "--repair").returncode == 1
        assert fastsa("store", "check").returncode == 0
        with closing(sqlite3.connect(place)) as connection:
            assert connection.execute("SELECT count(*) FROM quarantine").fetchone() == (1,)

    def test_a_graph_under_the_name_of_another(
        self, fastsa: Fastsa, filled: Filled, place: Path
    ) -> None:
        with closing(sqlite3.connect(place)) as connection, connection:
            connection.execute("UPDATE graphs SET hash = ? WHERE number = 1", ["ab" * 32])
        done = fastsa("store", "check")
        assert done.returncode == 1
        assert "another graph than its hash says" in done.stdout

    def test_a_damaged_file_is_told_of_and_stays(
        self, fastsa: Fastsa, filled: Filled, place: Path
    ) -> None:
        with closing(sqlite3.connect(place)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = bytearray(place.read_bytes())
        content[4096 : 4096 * 20] = b"\xff" * (4096 * 19)
        place.write_bytes(content)
        for name in ("check", "info"):
            done = fastsa("store", name)
            assert done.returncode in (1, 4)
            assert "well" not in done.stdout
            assert place.read_bytes() == content
        assert not list(place.parent.glob("*.damaged-*"))


class TestGarbage:
    def test_old_things_go(self, fastsa: Fastsa, filled: Filled, place: Path) -> None:
        age(place, *ALL)
        told = fastsa("store", "gc", "--older-than", "30d", "--dry-run").stdout
        assert told.startswith("Would remove 2 profiles, 3 graphs, 1 plan, 1 run, 1 verdict")
        assert fastsa("store", "check").returncode == 0
        gone = only_json(fastsa("store", "gc", "--older-than", "30d", "--json"))
        assert filled.plan_id in gone["plans"]
        assert fastsa("list").stdout.startswith("Nothing is stored")

    def test_a_run_keeps_its_plan_young(self, fastsa: Fastsa, filled: Filled, place: Path) -> None:
        age(place, "profiles", "graphs", "plans", "verdicts")
        with closing(sqlite3.connect(place)) as connection, connection:
            connection.execute("UPDATE runs SET created = '2999-01-01T00:00:00+00:00'")
        gone = only_json(fastsa("store", "gc", "--older-than", "30d", "--json"))
        assert (gone["profiles"], gone["plans"]) == ([filled.two_regions_id], [])

    @pytest.mark.promise("fault-36")
    def test_what_is_in_use_stays(self, fastsa: Fastsa, filled: Filled, place: Path) -> None:
        age(place, *ALL)
        with Store.open(place) as store:
            store.uses.begin(filled.plan_id)
            gone = only_json(fastsa("store", "gc", "--max-size", "0", "--json"))
            assert (gone["profiles"], gone["plans"]) == ([filled.two_regions_id], [])
            store.uses.end([filled.plan_id])
        gone = only_json(fastsa("store", "gc", "--max-size", "0", "--json"))
        assert gone["plans"] == [filled.plan_id]

    def test_what_a_dead_process_used_goes(
        self, fastsa: Fastsa, filled: Filled, place: Path
    ) -> None:
        host, boot, _, _ = owner.current().rsplit("/", 3)
        with closing(sqlite3.connect(place)) as connection, connection:
            connection.execute(
                "INSERT INTO uses VALUES (?, ?, '2999-01-01T00:00:00+00:00')",
                [filled.plan_id, f"{host}/{boot}/{2**22 + 1}/1"],
            )
        age(place, *ALL)
        gone = only_json(fastsa("store", "gc", "--older-than", "1w", "--json"))
        assert gone["plans"] == [filled.plan_id]

    def test_what_is_asked_for_stays(self, fastsa: Fastsa, filled: Filled, place: Path) -> None:
        with Store.open(place) as store:
            store.requests.put("improve", filled.key, 1 << 20)
        gone = only_json(fastsa("store", "gc", "--max-size", "0", "--json"))
        assert gone["profiles"] == [filled.two_regions_id]

    def test_down_to_a_size(self, fastsa: Fastsa, place: Path) -> None:
        with Store.open(place) as store:
            ids = [
                store.add_profile(builders.profile(builders.graph(n), model=f"m{n}"))
                for n in range(2, 40)
            ]
            size = store.facts().content_bytes
        gone = only_json(fastsa("store", "gc", "--max-size", str(size // 2), "--json"))
        assert 0 < gone["bytes_after"] <= size // 2 < gone["bytes_before"]
        assert gone["profiles"] and not set(gone["profiles"]) - set(ids)
        with Store.open(place) as store:
            assert len(store.list_items("profile")) == len(ids) - len(gone["profiles"])

    @pytest.mark.parametrize(
        "arguments",
        [[], ["--older-than", "soon"], ["--older-than", "-3d"], ["--max-size", "50%"]],
    )
    def test_usage(self, fastsa: Fastsa, arguments: list[str]) -> None:
        done = fastsa("store", "gc", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("fastsa: ")


def test_vacuum(fastsa: Fastsa, filled: Filled, place: Path) -> None:
    assert fastsa("store", "vacuum").returncode == 0
    assert fastsa("store", "check").returncode == 0
    assert filled.plan_id[:12] in fastsa("list").stdout


class TestExport:
    def test_and_import(self, fastsa: Fastsa, place: Path, tmp_path: Path) -> None:
        graph = builders.graph()
        with Store.open(place) as store:
            store.add_profile(builders.profile(graph))
            store.add_graph(builders.graph(9))
            made = plan(graph, graph.resident_bytes * 10, time_limit=0.1)
            plan_id = store.add_plan(made, builders.key(graph))
            store.add_run(builders.run(plan_id))
            store.add_verdict(builders.verdict(plan_id))
        copy, fresh = tmp_path / "copy.db", tmp_path / "fresh.db"
        assert fastsa("store", "export", str(copy)).returncode == 0
        assert copy.stat().st_mode & 0o077 == 0
        for _ in range(2):
            taken = only_json(fastsa("store", "import", str(copy), "--store", str(fresh), "--json"))
            assert taken == {
                "profiles": 1,
                "graphs": 1,
                "plans": 1,
                "runs": 1,
                "verdicts": 1,
                "refused": [],
            }
        there = only_json(fastsa("list", "--json"))["items"]
        here = only_json(fastsa("list", "--json", FASTSA_STORE=str(fresh)))["items"]
        assert sorted(each["id"] for each in here) == sorted(each["id"] for each in there)

    def test_an_illegal_plan_is_refused(
        self, fastsa: Fastsa, filled: Filled, tmp_path: Path
    ) -> None:
        """The one that is stored here takes less than its graph can."""
        copy, fresh = tmp_path / "copy.db", str(tmp_path / "fresh.db")
        assert fastsa("store", "export", str(copy)).returncode == 0
        taken = only_json(fastsa("store", "import", str(copy), "--store", fresh, "--json"))
        assert (taken["profiles"], taken["plans"], taken["runs"]) == (2, 0, 0)
        assert any(filled.plan_id[:12] in reason for reason in taken["refused"])

    def test_no_file_is_overwritten(self, fastsa: Fastsa, filled: Filled, tmp_path: Path) -> None:
        (tmp_path / "there").write_text("mine")
        done = fastsa("store", "export", str(tmp_path / "there"))
        assert done.returncode == 2
        assert (tmp_path / "there").read_text() == "mine"


@pytest.mark.promise("fault-27")
class TestForeign:
    """Another's store is not trusted."""

    def test_damaged_documents_are_refused(
        self, fastsa: Fastsa, filled: Filled, place: Path, tmp_path: Path
    ) -> None:
        copy = tmp_path / "copy.db"
        fastsa("store", "export", str(copy))
        spoil(copy, "plans")
        before = copy.read_bytes()
        fresh = str(tmp_path / "fresh.db")
        taken = only_json(fastsa("store", "import", str(copy), "--store", fresh, "--json"))
        assert (taken["plans"], taken["runs"]) == (0, 0)
        assert any("damaged" in reason for reason in taken["refused"])
        assert copy.read_bytes() == before

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE TRIGGER t AFTER DELETE ON plans BEGIN DELETE FROM runs; END",
            "CREATE VIEW other AS SELECT * FROM plans",
            "DROP VIEW blocks; CREATE VIEW blocks AS SELECT * FROM plans",
            "PRAGMA application_id = 7",
            "PRAGMA user_version = 999",
        ],
    )
    def test_not_as_we_make_them(
        self, fastsa: Fastsa, filled: Filled, tmp_path: Path, statement: str
    ) -> None:
        copy = tmp_path / "copy.db"
        fastsa("store", "export", str(copy))
        with closing(sqlite3.connect(copy)) as connection, connection:
            connection.executescript(statement)
        done = fastsa("store", "import", str(copy), "--store", str(tmp_path / "fresh.db"))
        assert done.returncode in (2, 4)
        assert done.stderr.count("\n") == 1
        assert "copy.db" in done.stderr

    @pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
    def test_no_store(self, fastsa: Fastsa, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "odd").write_bytes(content)
        done = fastsa("store", "import", str(tmp_path / "odd"))
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1


def test_stats(fastsa: Fastsa, filled: Filled, place: Path) -> None:
    with Store.open(place) as store:
        store.find_plan(filled.key, 1 << 40)
        store.find_plan(filled.key, 1)
        store.find_plan(builders.key(builders.graph(7)), 1 << 40)
    told = fastsa("store", "stats").stdout
    assert "plan lookups: 1 hits, 2 misses (1 absent, 1 budget)\n" in told
    assert only_json(fastsa("store", "stats", "--json"))["lookups"]["plan.hit"] == 1
