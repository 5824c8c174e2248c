"""A shared second tier, from the jobs' side: found, pushed, and never waited for."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from fastsa.cache import integrity
from fastsa.cache.remote_plans import PLANS, SharedPlan
from support.fork_server import Done
from support.paths import SCRIPTS
from support.sandbox import CliSandbox, steps

HAS_S3 = importlib.util.find_spec("s3fs") is not None
RUN = ("run", "--budget", "85%", "--time-limit", "0.2", "plain.py")


def objects(remote: Path, kind: str = "") -> list[Path]:
    return [path for path in (remote / "fastsa-1" / kind).rglob("*") if path.is_file()]


def trained(sandbox: CliSandbox, remote: Path | str, **more: str) -> Done:
    """To the same bits as without fastsa."""
    done = sandbox.fastsa(*RUN, FASTSA_REMOTE=str(remote), **more)
    assert done.returncode == 0, done.stderr
    assert steps(done) == steps(sandbox.plain("plain.py"))
    return done


@pytest.fixture(scope="module")
def filled(
    sandboxes: Callable[[], CliSandbox], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A remote that one job has filled."""
    remote = tmp_path_factory.mktemp("remote")
    done = trained(sandboxes(), remote)
    assert "plan made" in done.stderr
    assert objects(remote, "plans")
    assert objects(remote, "graphs")
    yield remote


class TestFound:
    def test_by_another_machine(self, filled: Path, sandbox: CliSandbox) -> None:
        done = trained(sandbox, filled)
        assert "plan found" in done.stderr
        assert "plan made" not in done.stderr
        assert sandbox.counters["remote.hit"] == 2  # a graph and a plan

    @pytest.mark.nightly
    def test_its_own_store_comes_first(self, filled: Path, sandbox: CliSandbox) -> None:
        trained(sandbox, filled)
        before = sandbox.counters
        done = trained(sandbox, filled)
        assert "plan found" in done.stderr
        assert sandbox.counters.get("remote.hit") == before["remote.hit"]

    @pytest.mark.nightly
    def test_without_a_remote(self, sandbox: CliSandbox) -> None:
        assert "plan made" in trained(sandbox, "").stderr
        assert not any(name.startswith("remote") for name in sandbox.counters)


@pytest.mark.promise("fault-31")
class TestFaults:
    """The job trains on, with one warning, and keeps its own plan."""

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            pytest.param("/dev/null", "NotADirectoryError", marks=pytest.mark.nightly),
            ("nonsense://bucket", "Protocol not known: nonsense"),
            pytest.param(
                "s3://bucket/plans",
                "Install s3fs to access S3",
                marks=pytest.mark.skipif(HAS_S3, reason="s3fs is installed"),
            ),
        ],
    )
    def test_no_such_place(self, sandbox: CliSandbox, url: str, why: str) -> None:
        done = trained(sandbox, url)
        assert done.stderr.count("the remote is not used") == 1
        assert why in done.stderr
        assert "plan made" in done.stderr

    def test_it_hangs(self, filled: Path, sandbox: CliSandbox) -> None:
        """A file system that answers no more: here, the first question ends after 30 s."""
        slow = sandbox.folder / "sitecustomize.py"
        slow.write_text(
            "import time\nfrom fsspec.implementations.local import LocalFileSystem\n"
            "LocalFileSystem.ls = lambda *a, **k: time.sleep(30)\n"
        )
        code = "import sitecustomize, runpy, sys; sys.argv = sys.argv[1:];"
        script = sandbox.folder / "slow.py"
        script.write_text(f"{code} from fastsa.cli.main import main; main()\n")
        plain = str(SCRIPTS / "plain.py")
        argv = [str(script), "fastsa", *RUN[:-1], plain]
        done = sandbox.server.run(
            argv, sandbox.environment(FASTSA_REMOTE=str(filled)), sandbox.folder
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("took longer than the 2 s") == 1
        assert "plan made" in done.stderr

    @pytest.mark.nightly
    def test_damaged(self, filled: Path, sandbox: CliSandbox) -> None:
        remote = sandbox.folder / "remote"
        shutil.copytree(filled, remote)
        for path in objects(remote):
            path.write_bytes(path.read_bytes()[:-20])
        done = trained(sandbox, remote)
        assert "plan made" in done.stderr
        assert sandbox.counters["remote.refused"] >= 1
        assert "remote.hit" not in sandbox.counters

    def test_another_plan_in_its_place(self, filled: Path, sandbox: CliSandbox) -> None:
        """Of the right name and checksum, with an order that is not legal."""
        remote = sandbox.folder / "remote"
        shutil.copytree(filled, remote)
        for path in objects(remote, "plans"):
            shared = integrity.unpack(path.read_bytes(), path.name.split("-")[1], SharedPlan)
            backwards = shared.plan.sequence[::-1]
            plan = msgspec.structs.replace(shared.plan, sequence=backwards)
            data = integrity.encode(msgspec.structs.replace(shared, plan=plan))
            peak = path.name.split("-")[0]
            path.with_name(f"{peak}-{integrity.checksum(data)}").write_bytes(integrity.pack(data))
            path.unlink()
        done = trained(sandbox, remote)
        assert "plan made" in done.stderr
        assert sandbox.counters["remote.refused"] >= 1

    @pytest.mark.nightly
    def test_a_place_to_read_only(self, sandbox: CliSandbox) -> None:
        done = trained(sandbox, "/sys")
        assert "remote" not in done.stderr
        assert "plan made" in done.stderr


class TestCommands:
    def test_push_and_pull(
        self, filled: Path, sandbox: CliSandbox, sandboxes: Callable[[], CliSandbox]
    ) -> None:
        trained(sandbox, "")
        remote = str(sandbox.folder / "remote")
        done = sandbox.fastsa("store", "push", "--remote", remote)
        found = re.fullmatch(
            r"Wrote (\d+) graphs and (\d+) plans that were not there\.\n", done.stdout
        )
        assert found is not None, done.stderr
        assert int(found[1]) >= 1
        assert int(found[2]) >= 1
        assert "Wrote 0 graphs and 0" in sandbox.fastsa("store", "push", "--remote", remote).stdout

        other = sandboxes()
        done = other.fastsa("store", "pull", FASTSA_REMOTE=remote)
        assert (done.returncode, done.stderr) == (0, "")
        assert {"graph", "plan"} <= set(other.kinds())
        assert "plan found" in trained(other, "").stderr

    @pytest.mark.nightly
    def test_a_plan_of_a_command(self, sandbox: CliSandbox) -> None:
        remote = sandbox.folder / "remote"
        assert sandbox.fastsa("profile", "plain.py", FASTSA_REMOTE=str(remote)).returncode == 0
        assert objects(remote, "graphs")
        (profile, *_) = (i for i in sandbox.fastsa("list", "--json").stdout.splitlines() if i)
        found = re.search(r'"id": ?"([0-9a-f]{12})', profile)
        assert found
        done = sandbox.fastsa(
            "plan", found[1], "--budget", "80%", "--time-limit", "0.5", FASTSA_REMOTE=str(remote)
        )
        assert done.returncode == 0, done.stderr
        assert len(objects(remote, PLANS.split("/")[1])) == 1

    @pytest.mark.parametrize("what", ["push", "pull"])
    def test_no_remote(self, sandbox: CliSandbox, what: str) -> None:
        done = sandbox.fastsa("store", what)
        assert done.returncode == 2
        assert done.stderr == (
            "fastsa: there is no remote. Give --remote URL, or set FASTSA_REMOTE\n"
        )

    def test_a_place_that_cannot_be(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("store", "pull", "--remote", "/dev/null")
        assert done.returncode == 1
        assert done.stderr.startswith("fastsa: /dev/null: NotADirectoryError")
