"""Damage is a miss, is counted, is set aside, and never reaches a caller as if it were good."""

from __future__ import annotations

import sqlite3
import warnings
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_utils

from fastsa.cache import integrity, schema
from fastsa.cache.store import Store
from fastsa.cache.table import MOST_QUARANTINED
from fastsa.errors import BadInput, FastsaWarning, StoreUnusable
from fastsa.planner.plan import Plan
from support import builders

GRAPH = builders.graph()
CAPTURED = builders.captured(GRAPH)
KEY = builders.key(GRAPH)
BEST = builders.plan(GRAPH, seconds=1.0)
NEXT_BEST = builders.plan(GRAPH, seconds=2.0)


def change(path: Path, sql: str, *parameters: object) -> None:
    """What no fastsa does: write to the file behind its back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(sql, parameters).rowcount == 1


def payload(path: Path, table: str, number: int) -> bytes:
    with closing(sqlite3.connect(path)) as connection:
        (data,) = connection.execute(
            f"SELECT payload FROM {table} WHERE number = ?", [number]
        ).fetchone()
    return bytes(data)


def flipped(data: bytes, position: float) -> bytes:
    index = int(position * (len(data) - 1))
    return data[:index] + bytes([data[index] ^ 0x10]) + data[index + 1 :]


def other_document(data: bytes) -> bytes:
    return zlib.compress(zlib.decompress(data).replace(b'"seed":0', b'"seed":7'))


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "first byte": lambda data: flipped(data, 0),
    "header": lambda data: flipped(data, 0.02),
    "middle": lambda data: flipped(data, 0.5),
    "last byte": lambda data: flipped(data, 1),
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "another document": other_document,
    "a bomb": lambda data: zlib.compress(bytes(1 << 24)),
    "not JSON": lambda data: zlib.compress(b"\xff\xfe"),
}


class TestPlanRow:
    @pytest.mark.promise("fault-7")
    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
    def test_miss_then_planned_again_then_hit(
        self, store: Store, damage: Callable[[bytes], bytes]
    ) -> None:
        plan_id = store.add_plan(BEST, KEY)
        change(store.path, "UPDATE plans SET payload = ?", damage(payload(store.path, "plans", 1)))

        assert store.find_plan(KEY, 2**40) is None
        assert store.counters() == {"plan.damaged": 1, "plan.miss.damaged": 1}
        quarantined = list(sqlite_utils.Database(str(store.path))["quarantine"].rows)
        assert [(row["kind"], row["id"]) for row in quarantined] == [("plan", plan_id)]
        assert quarantined[0]["reason"]
        assert store.find_plan(KEY, 2**40) is None
        assert store.counters()["plan.miss.absent"] == 1

        assert store.add_plan(BEST, KEY) == plan_id
        found = store.find_plan(KEY, 2**40)
        assert found is not None
        assert found.plan == BEST
        assert store.counters()["plan.hit"] == 1

    def test_the_next_best_is_tried(self, store: Store) -> None:
        store.add_plan(BEST, KEY)
        store.add_plan(NEXT_BEST, KEY)
        change(store.path, "UPDATE plans SET payload = x'00' WHERE number = 1")
        found = store.find_plan(KEY, 2**40)
        assert found is not None
        assert found.plan == NEXT_BEST
        assert store.counters() == {"plan.damaged": 1, "plan.hit": 1}

    @pytest.mark.parametrize(
        "column",
        ["peak_bytes = 1", "seconds = 0.5", "status = 'optimal'", "graph = hex(zeroblob(32))"],
    )
    def test_columns_must_be_those_of_the_payload(self, store: Store, column: str) -> None:
        store.add_plan(BEST, KEY)
        change(store.path, f"UPDATE plans SET {column}")
        assert store.find_plan(KEY, 4096) is None
        assert store.counters()["plan.damaged"] == 1

    def test_asked_by_id_it_is_an_error_with_a_way_out(self, store: Store) -> None:
        plan_id = store.add_plan(BEST, KEY)
        change(store.path, "UPDATE plans SET sha256 = hex(zeroblob(32))")
        with pytest.raises(StoreUnusable, match=r"plan .* is damaged and was set aside"):
            store.plan(plan_id)
        with pytest.raises(BadInput, match="there is no plan"):
            store.plan(plan_id)

    def test_adding_again_mends(self, store: Store) -> None:
        plan_id = store.add_plan(BEST, KEY)
        change(store.path, "UPDATE plans SET payload = x'00'")
        store.add_plan(BEST, KEY)
        assert store.plan(plan_id) == BEST


class TestOtherRows:
    def test_an_older_graph_serves(self, store: Store) -> None:
        store.add_profile(builders.profile(GRAPH, model="older"))
        store.add_profile(builders.profile(builders.graph(scale=2), model="newer"))
        change(store.path, "UPDATE graphs SET payload = x'00' WHERE number = 2")
        assert store.measured_graph(CAPTURED, builders.DEVICE) == GRAPH
        assert store.counters() == {"graph.damaged": 1, "graph.hit": 1}

    def test_no_graph_is_left(self, store: Store) -> None:
        store.add_graph(GRAPH, CAPTURED)
        change(store.path, "UPDATE graphs SET payload = x'00'")
        assert store.measured_graph(CAPTURED, builders.DEVICE) is None
        assert store.counters() == {"graph.damaged": 1, "graph.miss.damaged": 1}

    def test_a_damaged_profile_leaves_its_graphs(self, store: Store) -> None:
        profile_id = store.add_profile(builders.profile(GRAPH))
        change(store.path, "UPDATE profiles SET payload = x'00'")
        with pytest.raises(StoreUnusable):
            store.profile(profile_id)
        assert store.measured_graph(CAPTURED, builders.DEVICE) == GRAPH
        assert [row.kind for row in store.list_items()] == ["graph"]

    def test_damaged_runs_are_passed_over(self, store: Store) -> None:
        for steps in (1, 2):
            store.add_run(builders.run("a" * 64, steps=steps))
        change(store.path, "UPDATE runs SET payload = x'00' WHERE number = 2")
        assert [run.steps for run in store.runs_of("a" * 64)] == [1]


class TestQuarantine:
    def test_is_bounded(self, store: Store) -> None:
        for _ in range(MOST_QUARANTINED + 5):
            store.add_plan(BEST, KEY)
            change(store.path, "UPDATE plans SET payload = x'00'")
            assert store.find_plan(KEY, 2**40) is None
        assert sqlite_utils.Database(str(store.path))["quarantine"].count == MOST_QUARANTINED


@pytest.mark.promise("fault-6")
class TestFile:
    def filled(self, path: Path) -> bytes:
        with Store.open(path) as store:
            for seed in range(20):
                store.add_plan(builders.plan(GRAPH, seconds=2.0, seed=seed), KEY)
        return path.read_bytes()

    def assert_usable(self, path: Path) -> None:
        """With whatever happened before: a lookup and an add work, and are lasting."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Store.open(path) as store:
                store.find_plan(KEY, 2**40)
                store.add_plan(BEST, KEY)
        with Store.open(path) as store:
            found = store.find_plan(KEY, 2**40)
        assert found is not None
        assert found.plan == BEST

    @pytest.mark.parametrize("content", [b"no database", b"\x00" * 4096, b"SQLite format 3\x00"])
    def test_garbage_is_set_aside_with_one_warning(self, path: Path, content: bytes) -> None:
        path.parent.mkdir()
        path.write_bytes(content)
        with pytest.warns(FastsaWarning, match=r"damaged and is now store\.db\.damaged-") as told:
            Store.open(path).close()
        assert len(told) == 1
        (aside,) = path.parent.glob("store.db.damaged-*")
        assert aside.read_bytes() == content
        self.assert_usable(path)

    def test_an_empty_file_is_a_new_store(self, path: Path) -> None:
        path.parent.mkdir()
        path.touch()
        self.assert_usable(path)

    def test_cut_at_every_page_and_in_between(self, path: Path) -> None:
        whole = self.filled(path)
        for length in range(0, len(whole), max(512, len(whole) // 512 // 40 * 512)):
            for file in path.parent.iterdir():
                file.unlink()
            path.write_bytes(whole[:length])
            self.assert_usable(path)

    def test_damaged_pages(self, path: Path) -> None:
        whole = self.filled(path)
        for page in range(1, len(whole) // 4096):
            for file in path.parent.iterdir():
                file.unlink()
            path.write_bytes(whole[: page * 4096] + b"\xa5" * 4096 + whole[(page + 1) * 4096 :])
            self.assert_usable(path)

    def test_the_log_moves_with_its_file(self, path: Path) -> None:
        with Store.open(path) as other_process:
            other_process.add_plan(BEST, KEY)
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with path.open("r+b") as file:
                file.write(b"garbage" * 100)
            with pytest.warns(FastsaWarning):
                Store.open(path).close()
            moved = {file.name.rsplit("-", 1)[-1] for file in path.parent.glob("*.damaged-*")}
            assert {"wal", "shm"} <= moved
        self.assert_usable(path)

    def test_damage_noticed_later_heals_under_an_open_store(self, path: Path) -> None:
        with Store.open(path) as store:
            store.add_plan(BEST, KEY)
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            size = path.stat().st_size
            with path.open("r+b") as file:
                file.seek(4096)
                file.write(b"\xa5" * (size - 4096))
            other = sqlite3.connect(path)  # makes the first connection read its pages again
            other.execute(f"PRAGMA user_version = {schema.VERSION}")
            other.close()
            with pytest.warns(FastsaWarning, match="damaged"):
                assert store.find_plan(KEY, 2**40) is None
            store.add_plan(BEST, KEY)
            assert store.find_plan(KEY, 2**40) is not None


class TestVersions:
    @pytest.mark.promise("fault-9")
    def test_a_newer_schema_is_refused_and_untouched(self, path: Path) -> None:
        Store.open(path).close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        before = path.read_bytes()
        told = rf"newer fastsa \(schema {schema.VERSION + 1}, this one reads {schema.VERSION}\)"
        with pytest.raises(StoreUnusable, match=told):
            Store.open(path)
        assert path.read_bytes() == before

    def test_another_programs_database_is_refused_and_untouched(self, path: Path) -> None:
        path.parent.mkdir()
        sqlite_utils.Database(str(path))["mails"].insert({"to": "me"})
        before = path.read_bytes()
        with pytest.raises(StoreUnusable, match="another program"):
            Store.open(path)
        assert path.read_bytes() == before

    @pytest.mark.promise("fault-8")
    def test_a_migration_cut_short_is_resumed(self, path: Path) -> None:
        path.parent.mkdir()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        with Store.open(path) as store:
            assert store.list_items() == []


class TestPayload:
    @pytest.mark.promise("fault-27")
    def test_a_bomb_is_not_unpacked(self) -> None:
        limit, integrity.MAX_BYTES = integrity.MAX_BYTES, 1000
        try:
            with pytest.raises(integrity.Damaged):
                integrity.unpack(zlib.compress(bytes(2000)), "0" * 64, Plan)
        finally:
            integrity.MAX_BYTES = limit

    def test_a_depth_bomb_is_damage(self) -> None:
        data = b"[" * 200_000
        with pytest.raises(integrity.Damaged):
            integrity.unpack(integrity.pack(data), integrity.checksum(data), Plan)


def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    """A mistyped FASTSA_STORE may name a person's script."""
    script = tmp_path / "train.py"
    script.write_text("print('mine')\n")
    with pytest.raises(StoreUnusable, match="leaves it alone"), Store.open(script) as store:
        store.list_items()
    assert script.read_text() == "print('mine')\n"


@pytest.mark.promise("fault-27")
def test_a_lock_that_is_a_link_harms_nobody(path: Path) -> None:
    path.parent.mkdir(parents=True)
    victim = path.parent / "precious"
    victim.write_text("mine")
    Path(f"{path}.lock").symlink_to(victim)
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreUnusable):
        Store.open(path)
    assert victim.read_text() == "mine"
