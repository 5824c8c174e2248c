"""Several processes, dead processes, and places that do not want a store."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from fastsa.cache import location
from fastsa.cache.remote import Remote, Unreachable
from fastsa.cache.store import Store
from fastsa.errors import BadInput, FastsaError, StoreUnusable
from support import builders

GRAPH = builders.graph()
KEY = builders.key(GRAPH)


def in_child(work: Callable[[], object]) -> int:
    """The exit code of `work` in a forked process: 0, a FastsaError's, or 99."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            work()
            code = 0
        except FastsaError as error:
            code = error.exit_code
            sys.stderr.write(f"{error.message}\n")
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def write_profiles(path: Path, said: int) -> None:
    """Store one profile after the other, and say so."""
    with Store.open(path) as store:
        graph = builders.graph(50)
        for number in range(10**6):
            store.add_profile(builders.profile(graph, allocations=2000, model=str(number)))
            os.write(said, b".")


@pytest.mark.promise("fault-1")
class TestKilled:
    @pytest.mark.parametrize(
        "attempt", [0, 1, *(pytest.param(n, marks=pytest.mark.nightly) for n in range(2, 12))]
    )
    def test_a_killed_writer_leaves_whole_profiles_only(self, path: Path, attempt: int) -> None:
        Store.open(path).close()
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            write_profiles(path, writer)
        os.close(writer)
        told = len(os.read(reader, 1))
        time.sleep(random.Random(attempt).uniform(0, 0.1))  # wherever it is then
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        while part := os.read(reader, 4096):
            told += len(part)
        os.close(reader)
        with Store.open(path) as store:
            rows = store.list_items("profile")
            assert told <= len(rows) <= told + 1, "what was confirmed is there"
            for row in rows:
                assert len(store.profile(row.id).timeline.allocations) == 2000
        with closing(sqlite3.connect(path)) as connection:
            (check,) = connection.execute("PRAGMA quick_check").fetchone()
            (blocks,) = connection.execute("SELECT count(*) FROM allocations").fetchone()
            (ops,) = connection.execute("SELECT count(*) FROM ops").fetchone()
        assert (check, blocks, ops) == ("ok", 2000 * len(rows), 100 * len(rows))


def add_plans(path: Path, first: int, count: int) -> None:
    with Store.open(path) as store:
        for seed in range(first, first + count):
            plan_id = store.add_plan(builders.plan(GRAPH, seed=seed), KEY)
            store.add_run(builders.run(plan_id))
            assert store.find_plan(KEY, 2**40) is not None


def in_processes(work: Callable[..., None], calls: list[tuple[object, ...]]) -> set[int | None]:
    """The exit codes of all calls, made at the same time."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=arguments) for arguments in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return {process.exitcode for process in processes}


@pytest.mark.promise("fault-10")
class TestTogether:
    @pytest.mark.parametrize("writers", [8, pytest.param(48, marks=pytest.mark.nightly)])
    def test_many_writers_on_a_store_that_does_not_exist_yet(
        self, path: Path, writers: int
    ) -> None:
        calls: list[tuple[object, ...]] = [(path, 100 * number, 5) for number in range(writers)]
        assert in_processes(add_plans, calls) == {0}
        with Store.open(path) as store:
            assert len(store.list_items("plan")) == writers * 5
            assert len(store.list_items("run")) == writers * 5

    def test_many_openers_of_garbage_set_it_aside_once(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(b"garbage")
        assert in_processes(add_plans, [(path, 100 * number, 2) for number in range(8)]) == {0}
        assert len(list(path.parent.glob("*.damaged-*"))) == 1
        with Store.open(path) as store:
            assert len(store.list_items("plan")) == 16

    def test_threads_take_turns(self, store: Store) -> None:
        def work(first: int) -> None:
            for seed in range(first, first + 10):
                store.add_plan(builders.plan(GRAPH, seed=seed), KEY)

        threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.list_items("plan")) == 40

    def test_a_long_transaction_elsewhere_is_named(self, path: Path) -> None:
        with Store.open(path) as store, closing(sqlite3.connect(path)) as other:
            store.add_graph(GRAPH)
            other.execute("BEGIN IMMEDIATE")
            store._connection.timeout = 0.2
            with pytest.raises(StoreUnusable, match=r"locked for 0\.2 s"):
                store.add_plan(builders.plan(GRAPH), KEY)
            store._connection.timeout = 600
            started = time.monotonic()
            assert store.find_plan(KEY, 2**40) is None
            assert time.monotonic() - started < 300, "a count does not wait"
            other.rollback()
            store.add_plan(builders.plan(GRAPH), KEY)


@pytest.mark.promise("fault-13")
class TestFork:
    def test_the_child_gets_a_connection_of_its_own(self, store: Store) -> None:
        store.add_plan(builders.plan(GRAPH), KEY)
        mine = store._connection._connection

        def child() -> None:
            store.add_plan(builders.plan(GRAPH, seed=1), KEY)
            assert store._connection._connection is not mine
            store.close()

        assert in_child(child) == 0
        store.add_plan(builders.plan(GRAPH, seed=2), KEY)
        assert len(store.list_items("plan")) == 3

    def test_the_child_does_not_close_what_is_the_parents(self, path: Path) -> None:
        stores = [Store.open(path)]
        stores[0].add_plan(builders.plan(GRAPH), KEY)
        log = Path(f"{path}-wal")
        size = log.stat().st_size
        assert size > 0

        def child() -> None:
            stores.pop().close()
            gc.collect()

        assert in_child(child) == 0
        assert log.stat().st_size == size
        stores.pop().close()

    def test_a_remote_that_was_in_use(self, tmp_path: Path) -> None:
        """The thread that asks it is not in the child."""
        (tmp_path / "shared" / "folder").mkdir(parents=True)
        remote = Remote(str(tmp_path / "shared"), 60.0)
        assert remote.folders("") == ["folder"]

        def child() -> None:
            with pytest.raises(Unreachable):
                remote.entries("folder")

        assert in_child(child) == 0

    def test_forked_inside_a_transaction(self, store: Store) -> None:
        def work(connection: sqlite3.Connection) -> int:
            connection.execute("INSERT INTO counters VALUES ('parent', 1)")
            return in_child(store.counters)

        assert store._connection.transaction(work) == 0
        assert store.counters() == {"parent": 1}


def test_a_lookup_imports_no_sqlite_utils(store: Store) -> None:
    store.add_plan(builders.plan(GRAPH), KEY)
    code = (
        "import sys, pathlib;"
        "from fastsa.cache.keys import PlanKey; from fastsa.cache.store import Store;"
        f"store = Store.open(pathlib.Path({str(store.path)!r}));"
        f"assert store.find_plan(PlanKey{msgspec.structs.astuple(KEY)!r}, 2**40);"
        "print(sorted({'sqlite_utils', 'torch', 'rich', 'platformdirs'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.promise("fault-4")
class TestPlaces:
    @pytest.mark.promise("fault-3")
    def test_disk_full(self, path: Path) -> None:
        resource = pytest.importorskip("resource")
        with Store.open(path) as store:
            kept = store.add_plan(builders.plan(GRAPH), KEY)

        def child() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50_000,) * 2)
            with Store.open(path) as store:
                store.add_profile(builders.profile(GRAPH, allocations=50_000))

        assert in_child(child) == StoreUnusable.exit_code
        with Store.open(path) as store:
            assert [row.id for row in store.list_items()] == [kept]
            store.add_profile(builders.profile(GRAPH, allocations=50_000))

    @pytest.mark.promise("fault-3")
    def test_a_full_device(self) -> None:
        with pytest.raises(StoreUnusable, match="the store cannot be opened"):
            Store.open(Path("/dev/full/store.db"))

    def test_a_folder_without_write_permission(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o555)

        def child() -> None:
            if os.getuid() == 0:
                os.setuid(65534)
            Store.open(tmp_path / "store.db")

        assert in_child(child) == StoreUnusable.exit_code

    def test_a_file_without_write_permission(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            path = Path(folder) / "store.db"
            Store.open(path).close()
            path.chmod(0o444)

            def child() -> None:
                if os.getuid() == 0:
                    os.setuid(65534)
                Store.open(path)

            assert in_child(child) == StoreUnusable.exit_code

    @pytest.mark.parametrize("place", ["/dev/null/x.db", "/proc/nowhere/x.db", "a\0b"])
    def test_no_place_for_a_file(self, place: str) -> None:
        with pytest.raises(StoreUnusable) as told:
            Store.open(Path(place))
        assert "FASTSA_STORE" in told.value.hint

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnusable, match="Is a directory"):
            Store.open(tmp_path)

    def test_the_variable_comes_first(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("FASTSA_STORE", "here/mine.db")
        with Store.open() as store:
            assert store.path == tmp_path / "here" / "mine.db"

    def test_else_the_data_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("FASTSA_STORE", raising=False)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        with Store.open() as store:
            assert store.path == tmp_path / "fastsa" / "store.db"

    def test_no_home(self, tmp_path: Path) -> None:
        """A user that no passwd knows, without HOME: as in many containers."""
        code = "from fastsa.cache.location import default_path; print(default_path())"
        script = (
            "import os, sys; sys.path[:] = eval(sys.argv[1]);"
            "import platformdirs, fastsa.cache.location;"
            f"os.getuid() or os.setuid(54321); {code}"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, repr(sys.path)],
            env={"PATH": os.defpath},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        if os.getuid() == 0:
            assert "this user has no home directory" in done.stderr
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.promise("fault-5")
    @pytest.mark.parametrize("kind", ["nfs4", "lustre", "ext4"])
    def test_no_write_ahead_log_between_hosts(
        self, tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        mounts = tmp_path / "mountinfo"
        mounts.write_text(
            "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
            f"36 21 0:42 / {tmp_path} rw,noatime shared:5 - {kind} server:/home rw\n"
        )
        find = location.file_system
        monkeypatch.setattr(location, "file_system", lambda path: find(path, mounts))
        Store.open(path).close()
        with closing(sqlite3.connect(path)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        assert mode == ("wal" if kind == "ext4" else "delete")

    def test_closed_and_used_again(self, store: Store) -> None:
        store.close()
        store.close()
        with pytest.raises(BadInput):
            store.plan("0" * 64)


@pytest.mark.promise("fault-27")
class TestOwner:
    """Whose file it is, is looked at before anything of it is read."""

    def test_anybody_may_write(self, path: Path) -> None:
        Store.open(path).close()
        path.chmod(0o666)
        with pytest.raises(StoreUnusable, match="anybody may write"):
            Store.open(path)

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
    def test_another_users(self, tmp_path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "store.db"
            Store.open(path).close()
            path.parent.chmod(0o777)
            path.chmod(0o660)
            os.chown(path, 0, 65534)
            child = os.fork()
            if not child:
                code = 1
                try:
                    os.setgid(65534)
                    os.setuid(65534)
                    Store.open(path)
                except StoreUnusable as error:
                    code = 0 if "another user's" in error.message else 2
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
