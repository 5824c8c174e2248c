"""export, import and diff."""

from __future__ import annotations

import csv
import io
import json
import pickle
from pathlib import Path

import pytest

from fastsa.cache.store import Store
from fastsa.records.profile import Profile
from fastsa.records.timeline import Site
from support import builders, whole_profiles
from support.commands import HOSTILE, Fastsa, only_json

GRAPH = builders.graph()
A = whole_profiles.profile(whole_profiles.LIVES, GRAPH)
B = whole_profiles.profile(
    whole_profiles.LIVES[1:],
    builders.graph(4),
    factor=2,
    script="other.py",
    sites=[Site("activation", op=HOSTILE, source=f"/{HOSTILE}/x.py:1")],
)


@pytest.fixture
def ids(place: Path) -> tuple[str, str]:
    with Store.open(place) as store:
        return store.add_profile(A), store.add_profile(B)


def stored(place: Path, profile_id: str) -> Profile:
    with Store.open(place) as store:
        return store.profile(profile_id)


class TestExport:
    def test_memory_viz(self, fastsa: Fastsa, ids: tuple[str, str], tmp_path: Path) -> None:
        file = tmp_path / "step.pickle"
        done = fastsa("export", ids[0], "--what", "memory-viz", "-o", str(file))
        assert (done.returncode, done.stdout) == (0, "")
        data = pickle.loads(file.read_bytes())  # noqa: S301 - it was made here
        assert len(data["device_traces"][0]) == 1 + 5 + 2 * 5

    def test_chrome_trace(self, fastsa: Fastsa, ids: tuple[str, str]) -> None:
        trace = only_json(fastsa("export", ids[1], "--what", "chrome-trace"))
        assert {event["ph"] for event in trace["traceEvents"]} == {"M", "C", "X"}

    def test_csv(self, fastsa: Fastsa, ids: tuple[str, str]) -> None:
        done = fastsa("export", ids[1], "--what", "csv")
        rows = list(csv.reader(io.StringIO(done.stdout, newline=""), strict=True))
        assert len(rows) == len(whole_profiles.LIVES)
        assert "\x1b" not in done.stdout

    def test_json_is_the_profile(self, fastsa: Fastsa, ids: tuple[str, str]) -> None:
        told = [fastsa("export", ids[0], "--what", what).stdout for what in ("json", "profile")]
        assert told[0] == told[1] == A.encode().decode() + "\n"

    def test_a_region_of_what_has_none(self, fastsa: Fastsa, ids: tuple[str, str]) -> None:
        done = fastsa("export", ids[0], "--what", "csv", "--region", "0")
        assert (done.returncode, done.stdout) == (2, "")
        assert "Leave --region out" in done.stderr


class TestImport:
    def test_a_snapshot(
        self, fastsa: Fastsa, place: Path, ids: tuple[str, str], tmp_path: Path
    ) -> None:
        file = str(tmp_path / "step.pickle")
        fastsa("export", ids[0], "--what", "memory-viz", "-o", file)
        told = only_json(fastsa("import", file, "--json"))
        assert told["schema"] == "fastsa.import/1"
        assert (told["peak_bytes"], told["resident_bytes"]) == (A.peak_bytes, A.resident_bytes)
        profile = stored(place, told["id"])
        assert (profile.ops, profile.regions, profile.step_seconds) == ((), (), None)
        assert profile.missing == tuple(told["missing"])
        assert profile.missing
        again = only_json(fastsa("import", file, "--json"))
        assert again["id"] == told["id"]
        rows = only_json(fastsa("list", "--json", "--kind", "profile"))["items"]
        assert [row["seconds"] for row in rows] == [None, 0.5, 0.25]

    def test_it_can_be_looked_at(
        self, fastsa: Fastsa, ids: tuple[str, str], tmp_path: Path
    ) -> None:
        file = str(tmp_path / "step.pickle")
        fastsa("export", ids[0], "--what", "memory-viz", "-o", file)
        done = fastsa("import", file)
        assert (done.returncode, done.stderr) == (0, "")
        identifier = done.stdout.split()[2]
        for arguments in (["show", identifier], ["list"], ["diff", ids[0], identifier]):
            looked = fastsa(*arguments)
            assert (looked.returncode, looked.stderr) == (0, "")
            assert identifier in looked.stdout

    def test_a_profile(
        self, fastsa: Fastsa, place: Path, ids: tuple[str, str], tmp_path: Path
    ) -> None:
        file = str(tmp_path / "a.json.gz")
        fastsa("export", ids[0], "--what", "profile", "-o", file)
        fastsa("rm", "--yes", ids[0])
        assert only_json(fastsa("import", file, "--json"))["id"] == ids[0]
        assert stored(place, ids[0]) == A
        assert fastsa("export", ids[0]).stdout.encode() == GRAPH.encode() + b"\n"

    def test_names_cannot_steer(self, fastsa: Fastsa, ids: tuple[str, str], tmp_path: Path) -> None:
        file = tmp_path / "hostile.json"
        document = json.loads(B.encode()) | {"model": HOSTILE, "missing": [HOSTILE]}
        file.write_text(json.dumps(document))
        assert "\x1b" not in fastsa("import", str(file)).stdout

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"\x80\x02cos\nsystem\n(S'true'\ntR.", "asks for os.system"),
            (b"\x80\x04N.", "no memory snapshot of PyTorch"),
            (b"\x80\x04", "no whole pickle"),
            (b"{}", "missing required field `schema`"),
            (b"not JSON", "malformed"),
            (GRAPH.encode(), "fastsa.graph/1"),
            (None, "No such file"),
        ],
    )
    def test_refusals(
        self, fastsa: Fastsa, tmp_path: Path, data: bytes | None, reason: str
    ) -> None:
        file = tmp_path / "file"
        if data is not None:
            file.write_bytes(data)
        done = fastsa("import", str(file))
        assert (done.returncode, done.stdout) == (2, "")
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1
        assert str(file) in done.stderr
        assert fastsa("list").stdout.startswith("Nothing is stored")

    def test_unusable_store(self, fastsa: Fastsa, tmp_path: Path) -> None:
        file = tmp_path / "a.json"
        file.write_bytes(A.encode())
        assert fastsa("import", str(file), FASTSA_STORE="/dev/null/x").returncode == 4


class TestDiff:
    def test_json(self, fastsa: Fastsa, ids: tuple[str, str]) -> None:
        told = only_json(fastsa("diff", *ids, "--json"))
        assert told["schema"] == "fastsa.diff/1"
        assert set(told) == {
            *("schema", "a", "b", "totals", "peak_by_category", "peak_by_source"),
            *("kept_by_module", "op_seconds_of", "ops"),
        }
        assert (told["a"]["id"], told["b"]["id"]) == ids
        assert set(told["totals"][0]) == {"name", "a", "b", "difference"}

    def test_tables(self, fastsa: Fastsa, ids: tuple[str, str]) -> None:
        done = fastsa("diff", ids[0][:12], ids[1][:12])
        assert (done.returncode, done.stderr) == (0, "")
        for word in ("-", "%", "measured", "activation", "blocks.0.mlp", "aten::mm", "other.py"):
            assert word in done.stdout
        assert "\x1b" not in done.stdout

    def test_with_itself(self, fastsa: Fastsa, ids: tuple[str, str]) -> None:
        told = only_json(fastsa("diff", ids[0], ids[0], "--json"))
        assert {change["difference"] for change in told["totals"]} == {0}

    def test_only_profiles(self, fastsa: Fastsa, ids: tuple[str, str]) -> None:
        graph = GRAPH.hash().removeprefix("sha256:")
        done = fastsa("diff", ids[0], graph)
        assert (done.returncode, done.stdout) == (2, "")
        assert "is a graph, not a profile" in done.stderr
