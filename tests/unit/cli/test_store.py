"""list, show, export and rm, as people and programs use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastsa.cache.store import Store
from fastsa.planner import graph as graphs
from fastsa.planner import plan as plans
from support.commands import HOSTILE, Fastsa, Filled, only_json

KINDS = ["profile", "graph", "plan", "run", "verdict"]

# Adding a key is fine; these stay.
KEYS = {
    "row": """kind id model shape device created process_budget_bytes step_budget_bytes peak_bytes
        peak_origin seconds seconds_origin status curve checked""",
    "profile": """schema id created script arguments model parameters shape device versions
        resident_bytes peak_bytes step_seconds peak_event events at_peak largest_at_peak regions
        saved allocator_peak_bytes recorded_seconds allocations levels at_peak_by_source
        saved_by_module saved_by_layer ops_from op_seconds ops modules layers nodes step_parts
        device_use fragmentation missing ended minimum_budget_bytes""",
    "graph": """schema id name device resident_bytes ops values recomputable_ops seconds segments
        slowest_targets slowest_ops""",
    "plan": """schema id created graph graph_name device torch cuda status step_budget_bytes
        peak_bytes base_peak_bytes seconds base_seconds extra_seconds lower_bound_seconds
        lower_bound_assumes minimum_budget_bytes minimum_budget_op_id minimum_budget_op
        recomputations recomputed_ops recomputed_modules planner runs curve verdict margin_bytes""",
    "run": """schema id created script model shape device versions plan plan_origin steps
        process_budget_bytes resident_bytes predicted_peak_bytes measured_peak_bytes
        peak_difference_bytes predicted_step_seconds measured_step_seconds
        step_difference_seconds""",
    "verdict": "schema id holds within_budget verdict",
}


class TestList:
    def test_nothing_yet(self, fastsa: Fastsa, place: Path) -> None:
        assert fastsa("list").stdout == f"Nothing is stored in {place} yet.\n"

    def test_tables(self, fastsa: Fastsa, filled: Filled) -> None:
        done = fastsa("list")
        assert done.returncode == 0
        for identifier in filled.ids.values():
            (line,) = [line for line in done.stdout.splitlines() if identifier[:12] in line]
            assert identifier[:13] not in line
        assert "measured" in done.stdout
        assert "predicted" in done.stdout

    def test_json(self, fastsa: Fastsa, filled: Filled, place: Path) -> None:
        listed = only_json(fastsa("list", "--json"))
        assert listed["schema"] == "fastsa.list/2"
        assert listed["store"] == str(place)
        assert {row["id"] for row in listed["items"]} >= set(filled.ids.values())
        assert set(listed["items"][0]) == set(KEYS["row"].split())

    @pytest.mark.parametrize("kind", KINDS)
    def test_one_kind(self, fastsa: Fastsa, filled: Filled, kind: str) -> None:
        rows = only_json(fastsa("list", "--kind", kind, "--json"))["items"]
        assert {row["kind"] for row in rows} == {kind}


class TestShow:
    @pytest.mark.parametrize("kind", KINDS)
    def test_json_keys(self, fastsa: Fastsa, filled: Filled, kind: str) -> None:
        shown = only_json(fastsa("show", filled.ids[kind][:12], "--json"))
        assert set(shown) == set(KEYS[kind].split())
        assert shown["schema"] == f"fastsa.show.{kind}/{1 if kind in ('graph', 'verdict') else 2}"
        assert shown["id"] == filled.ids[kind]

    def test_profile(self, fastsa: Fastsa, filled: Filled) -> None:
        shown = only_json(fastsa("show", filled.profile_id, "--json"))
        assert {one["category"]: one["bytes"] for one in shown["at_peak"]} == {
            "parameter": 1024,
            "optimizer": 3072,
            "gradient": 4096,
            "input": 5120,
        }
        assert [one["bytes"] for one in shown["largest_at_peak"]] == [5120, 4096, 3072, 1024]
        assert shown["saved"] == [
            {"node": "AddmmBackward0", "tensors": 1, "bytes": 4096, "parameter_bytes": 0}
        ]
        assert shown["regions"][0]["ops"] == 6

    def test_plan(self, fastsa: Fastsa, filled: Filled) -> None:
        shown = only_json(fastsa("show", filled.plan_id, "--json"))
        assert shown["recomputations"] == 1
        assert shown["recomputed_ops"][0]["label"] == "mm_0 aten.mm.default"
        assert shown["recomputed_modules"][0]["label"] == "blocks.0"
        assert shown["minimum_budget_op"]["name"] == "mm_backward_0"
        assert [run["id"] for run in shown["runs"]] == [filled.run_id]
        assert shown["verdict"]["identical_to_compiled"] is True

    def test_plan_without_its_graph(self, fastsa: Fastsa, filled: Filled, place: Path) -> None:
        with Store.open(place) as store:
            store._connection.transaction(lambda c: c.execute("DELETE FROM graphs"))
        shown = only_json(fastsa("show", filled.plan_id, "--json"))
        assert shown["minimum_budget_op"] is None
        assert shown["recomputations"] == 1
        assert "set by op 3" in fastsa("show", filled.plan_id).stdout

    def test_run(self, fastsa: Fastsa, filled: Filled) -> None:
        shown = only_json(fastsa("show", filled.run_id, "--json"))
        assert shown["peak_difference_bytes"] == (5 - 14) * 1024
        assert shown["step_difference_seconds"] == pytest.approx(0.01)

    @pytest.mark.parametrize("kind", KINDS)
    def test_tables_say_what_was_measured(self, fastsa: Fastsa, filled: Filled, kind: str) -> None:
        done = fastsa("show", filled.ids[kind])
        assert (done.returncode, done.stderr) == (0, "")
        words = {
            "profile": ["9.00 KiB measured", "AddmmBackward0", "aten::op_3", "train.py:4"],
            "graph": ["aten.mm.default", "backward", "train.py:10"],
            "plan": ["feasible", "predicted", "mm_backward_0", "blocks.0", filled.run_id[:12]],
            "run": ["predicted", "measured", "-64.3%", "+3.8%"],
            "verdict": ["bit-identical", "15.00 KiB", "kept", filled.plan_id[:12]],
        }
        for word in words[kind]:
            assert word in done.stdout

    def test_damaged(self, fastsa: Fastsa, filled: Filled, place: Path) -> None:
        with Store.open(place) as store:
            store._connection.transaction(lambda c: c.execute("UPDATE plans SET payload = x'00'"))
        done = fastsa("show", filled.plan_id)
        assert done.returncode == 4
        assert "damaged and was set aside" in done.stderr


class TestAnyTerminal:
    @pytest.mark.parametrize("columns", ["20", "80", "200"])
    @pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
    def test_narrow_and_foreign(
        self, fastsa: Fastsa, filled: Filled, columns: str, encoding: str
    ) -> None:
        more = {"COLUMNS": columns, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        for arguments in (["list"], ["show", filled.two_regions_id]):
            done = fastsa(*arguments, **more)
            assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.promise("fault-29")
    def test_names_cannot_steer(self, fastsa: Fastsa, filled: Filled) -> None:
        done = fastsa("show", filled.two_regions_id)
        assert "[red]evil\\x1b[2J</b>\\u202e 模型" in done.stdout
        assert "\x1b" not in done.stdout

    def test_json_is_utf_8_everywhere(self, fastsa: Fastsa, filled: Filled) -> None:
        more = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
        assert (
            only_json(fastsa("show", filled.two_regions_id, "--json", **more))["model"] == HOSTILE
        )


class TestExport:
    def test_graph(self, fastsa: Fastsa, filled: Filled) -> None:
        done = fastsa("export", filled.graph_id)
        assert graphs.decode(done.stdout.encode()) == filled.graph

    def test_plan_to_a_file(self, fastsa: Fastsa, filled: Filled, tmp_path: Path) -> None:
        file = tmp_path / "plan.json.gz"
        done = fastsa("export", filled.plan_id, "--output", str(file))
        assert (done.returncode, done.stdout) == (0, "")
        assert plans.read(file) == filled.plan

    def test_run(self, fastsa: Fastsa, filled: Filled) -> None:
        assert fastsa("export", filled.run_id).stdout.encode() == filled.run.encode() + b"\n"

    def test_profile(self, fastsa: Fastsa, filled: Filled) -> None:
        done = fastsa("export", filled.profile_id, "--what", "profile")
        assert done.stdout.encode() == filled.profile.encode() + b"\n"

    def test_a_profiles_only_graph(self, fastsa: Fastsa, filled: Filled) -> None:
        done = fastsa("export", filled.profile_id)
        assert graphs.decode(done.stdout.encode()) == filled.graph

    def test_a_region(self, fastsa: Fastsa, filled: Filled) -> None:
        done = fastsa("export", filled.two_regions_id, "--region", "1")
        assert graphs.decode(done.stdout.encode()) == filled.two_regions.regions[1].graph

    @pytest.mark.parametrize(
        ("which", "arguments", "reason"),
        [
            ("two_regions_id", [], "--region 0 to 1"),
            ("two_regions_id", ["--region", "2"], "there is no region 2"),
            ("two_regions_id", ["--region", "-1"], "there is no region -1"),
            ("plan_id", ["--region", "0"], "is a plan"),
            ("run_id", ["--what", "graph"], "is a run"),
            ("plan_id", ["--output", "/nowhere/plan.json"], "cannot be written"),
        ],
    )
    def test_refusals(
        self, fastsa: Fastsa, filled: Filled, which: str, arguments: list[str], reason: str
    ) -> None:
        done = fastsa("export", getattr(filled, which), *arguments)
        assert done.returncode in (1, 2)
        assert reason in done.stderr
        assert (done.stdout, done.stderr.count("\n")) == ("", 1)


class TestRemove:
    def test_says_what_went(self, fastsa: Fastsa, filled: Filled) -> None:
        done = fastsa("rm", "--yes", filled.profile_id[:12], filled.run_id[:12])
        assert done.returncode == 0
        assert done.stdout == "Removed 1 profile, 1 graph, 1 plan, 1 run, 1 verdict.\n"
        assert fastsa("show", filled.plan_id).returncode == 2

    def test_asks_nobody(self, fastsa: Fastsa, filled: Filled) -> None:
        done = fastsa("rm", filled.profile_id)
        assert done.returncode == 2
        assert "this would remove 1 profile, 1 graph, 1 plan, 1 run" in done.stderr
        assert fastsa("show", filled.profile_id).returncode == 0

    def test_one_unknown_id_removes_nothing(self, fastsa: Fastsa, filled: Filled) -> None:
        assert fastsa("rm", "--yes", filled.plan_id, "0" * 12).returncode == 2
        assert fastsa("show", filled.plan_id).returncode == 0


@pytest.mark.promise("fault-29")
@pytest.mark.parametrize(
    "name", ["file:x.db?mode=memory", "a%2e%2e%2fb.db", "x#y?.db", " ", "é\n.db"]
)
def test_a_name_is_a_name(fastsa: Fastsa, tmp_path: Path, name: str) -> None:
    """Not an address with options, and nothing in it is decoded."""
    place = tmp_path / "inner" / name
    for command in (("list",), ("store", "info"), ("store", "check"), ("doctor",)):
        assert fastsa(*command, FASTSA_STORE=str(place)).returncode == 0
    assert place.is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]
