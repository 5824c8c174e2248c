"""What goes in comes out, by id, by key and by prefix."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import msgspec
import pytest
import sqlite_utils
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastsa.cache.items import Item
from fastsa.cache.keys import PlanKey
from fastsa.cache.store import Store
from fastsa.errors import BadInput
from support import builders, whole_profiles

GRAPH = builders.graph()
KEY = builders.key(GRAPH)

same_store = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
sizes = st.integers(0, 2**63 - 1)
seconds = st.floats(0, 1e9, allow_nan=False)


class TestProfiles:
    def test_round_trip(self, store: Store) -> None:
        profile = builders.profile(GRAPH, builders.graph(4))
        profile_id = store.add_profile(profile)
        assert profile_id == profile.id()
        assert store.profile(profile_id) == profile
        assert store.profile(f"sha256:{profile_id}") == profile

    @same_store
    @given(text, text, sizes, sizes, seconds)
    def test_any_text_and_size_comes_back(
        self, store: Store, model: str, shape: str, parameters: int, peak: int, step: float
    ) -> None:
        profile = msgspec.structs.replace(
            builders.profile(GRAPH, model=model),
            shape=shape,
            parameters=parameters,
            peak_bytes=peak,
            step_seconds=step,
        )
        assert store.profile(store.add_profile(profile)) == profile

    def test_stored_twice_is_stored_once(self, store: Store) -> None:
        profile = builders.profile(GRAPH)
        assert store.add_profile(profile) == store.add_profile(profile)
        kinds = [row.kind for row in store.list_items()]
        assert kinds == ["profile", "graph"]

    def test_a_job_finds_the_latest_measured_graph(self, store: Store) -> None:
        captured = builders.captured(GRAPH)
        faster = builders.graph(scale=0.5)
        assert faster.hash() == GRAPH.hash(), "seconds are not part of the hash"
        store.add_profile(builders.profile(GRAPH, created="2026-03-01T00:00:00+00:00"))
        latest = store.add_profile(builders.profile(faster, created="2026-02-01T00:00:00+00:00"))
        assert store.measured_graph(captured, builders.DEVICE) == faster
        summary = store.measured_profile(captured, builders.DEVICE)
        assert summary is not None
        assert summary.id == latest
        assert summary.step_seconds == 0.25

    def test_a_step_may_have_no_time_and_something_may_be_missing(self, store: Store) -> None:
        timed = builders.profile(GRAPH)
        broken = msgspec.structs.replace(timed, step_seconds=None, ended="OSError: x")
        profile_id = store.add_profile(broken)
        assert store.profile(profile_id) == broken
        summary = store.measured_profile(builders.captured(GRAPH), builders.DEVICE)
        assert summary is not None
        assert (summary.id, summary.step_seconds) == (profile_id, None)
        assert store.list_items("profile")[0].seconds is None
        store.add_profile(timed)
        rows = sqlite_utils.Database(str(store.path)).query("SELECT complete FROM profiles")
        assert [row["complete"] for row in rows] == [0, 1]

    def test_a_number_that_became_nothing_is_refused(self, store: Store) -> None:
        profile = builders.profile(GRAPH)
        lost = msgspec.structs.replace(profile.timeline.allocations[1], birth_seconds=float("nan"))
        timeline = msgspec.structs.replace(profile.timeline, allocations=(lost,))
        with pytest.raises(BadInput, match="read back as another one"):
            store.add_profile(msgspec.structs.replace(profile, timeline=timeline))

    def test_everything_a_profile_can_have(self, store: Store) -> None:
        profile = whole_profiles.profile(whole_profiles.LIVES, GRAPH)
        assert store.profile(store.add_profile(profile)) == profile
        rows = list(sqlite_utils.Database(str(store.path)).query("SELECT * FROM blocks"))
        blocks = [profile.timeline.site(each) for each in profile.timeline.allocations]
        assert [row["module"] for row in rows] == [site.module for site in blocks]
        assert [row["node"] for row in rows] == [site.node for site in blocks]
        assert [row["bytes"] for row in rows] == [life[0] for life in whole_profiles.LIVES]

    def test_another_device_has_measured_nothing(self, store: Store) -> None:
        store.add_profile(builders.profile(GRAPH))
        assert store.measured_graph(builders.captured(GRAPH), "Other") is None
        assert store.measured_profile(builders.captured(GRAPH), "Other") is None
        assert store.counters() == {"graph.miss.absent": 1}

    def test_unknown_id(self, store: Store) -> None:
        with pytest.raises(BadInput, match="there is no profile"):
            store.profile("0" * 64)

    def test_a_hundred_thousand_allocations(self, store: Store) -> None:
        profile = builders.profile(GRAPH, allocations=100_000)
        started = time.perf_counter()
        store.add_profile(profile)
        assert time.perf_counter() - started < 10, "2 s on an idle machine; this is a busy one's"
        database = sqlite_utils.Database(str(store.path))
        assert database["allocations"].count == 100_000


class TestGraphs:
    def test_round_trip(self, store: Store) -> None:
        graph_hash = store.add_graph(GRAPH)
        assert graph_hash == GRAPH.hash()
        assert store.graph(graph_hash) == GRAPH
        assert store.graph(graph_hash.removeprefix("sha256:")) == GRAPH
        assert store.graph("0" * 64) is None

    def test_measured_outside_a_profile(self, store: Store) -> None:
        store.add_graph(GRAPH, captured_hash="sha256:" + "a" * 64)
        assert store.measured_graph("a" * 64, builders.DEVICE) == GRAPH
        assert store.measured_profile("a" * 64, builders.DEVICE) is None

    def test_measured_again_takes_the_place(self, store: Store) -> None:
        store.add_graph(GRAPH)
        store.add_graph(builders.graph(scale=2))
        database = sqlite_utils.Database(str(store.path))
        assert database["graphs"].count == 1
        assert database["ops"].count == len(GRAPH.ops)
        assert store.graph(GRAPH.hash()) == builders.graph(scale=2)

    def test_ops_are_rows(self, store: Store) -> None:
        store.add_graph(GRAPH)
        database = sqlite_utils.Database(str(store.path))
        rows = database.query("select ops.* from ops join graphs on graphs.number = ops.graph")
        first = next(iter(rows))
        assert first["target"] == "aten.mm.default"
        assert first["seconds"] == 1e-4
        assert first["output_bytes"] == 1024
        assert first["workspace_bytes"] == 256
        assert (first["name"], first["module"]) == ("mm_0", "blocks.0")
        assert first["source"] == "train.py:10"

    def test_an_illegal_graph_is_refused(self, store: Store) -> None:
        backwards = msgspec.structs.replace(GRAPH, outputs=(99,))
        with pytest.raises(BadInput, match="no value 99"):
            store.add_graph(backwards)


class TestPlans:
    def test_round_trip(self, store: Store) -> None:
        plan = builders.plan(GRAPH)
        plan_id = store.add_plan(plan, KEY)
        assert store.plan(plan_id) == plan
        stored = store.stored_plan(plan_id)
        assert (stored.id, stored.plan, stored.key) == (plan_id, plan, KEY)

    def test_the_id_is_that_of_key_and_plan(self, store: Store) -> None:
        plan = builders.plan(GRAPH)
        first = store.add_plan(plan, KEY)
        assert store.add_plan(plan, KEY) == first
        assert store.add_plan(plan, builders.key(GRAPH, device="Other")) != first
        assert store.add_plan(builders.plan(GRAPH, seed=1), KEY) != first

    def test_the_fastest_that_fits_wins(self, store: Store) -> None:
        slow = builders.plan(GRAPH, peak=3000, seconds=3.0)
        fast = builders.plan(GRAPH, peak=5000, seconds=1.0)
        fast_and_low = builders.plan(GRAPH, peak=4000, seconds=1.0, status="optimal")
        for plan in (slow, fast, fast_and_low):
            store.add_plan(plan, KEY)
        found = {budget: store.find_plan(KEY, budget) for budget in (9999, 4000, 3999, 2999)}
        assert {budget: one and one.plan for budget, one in found.items()} == {
            9999: fast_and_low,
            4000: fast_and_low,
            3999: slow,
            2999: None,
        }
        assert store.counters() == {"plan.hit": 3, "plan.miss.budget": 1}

    def test_a_plan_over_its_own_budget_still_serves_a_larger_one(self, store: Store) -> None:
        plan = builders.plan(GRAPH, peak=4096, budget=10_000)
        store.add_plan(plan, KEY)
        found = store.find_plan(KEY, 4096)
        assert found is not None
        assert found.plan == plan

    @pytest.mark.parametrize("status", ["not_found", "infeasible"])
    def test_what_does_not_fit_is_never_found(self, store: Store, status: str) -> None:
        store.add_plan(builders.plan(GRAPH, peak=0, status=status), KEY)
        assert store.find_plan(KEY, 2**80) is None

    @pytest.mark.promise("plan-lookup", "fault-19", "fault-20")
    @pytest.mark.parametrize(
        "change",
        [{"device": "B"}, {"torch": "2.12"}, {"cuda": "13.0"}, {"planner": "0.2"}],
        ids=lambda change: next(iter(change)),
    )
    def test_everything_in_the_key_counts(self, store: Store, change: dict[str, str]) -> None:
        store.add_plan(builders.plan(GRAPH), KEY)
        other = msgspec.structs.replace(KEY, **change)
        assert store.find_plan(other, 2**40) is None
        assert store.counters() == {"plan.miss.absent": 1}

    def test_the_key_knows_hashes_with_and_without_prefix(self, store: Store) -> None:
        store.add_plan(builders.plan(GRAPH), KEY)
        bare = msgspec.structs.replace(KEY, graph=GRAPH.hash().removeprefix("sha256:"))
        assert bare.digest() == KEY.digest()
        assert store.find_plan(bare, 2**40) is not None

    def test_a_plan_of_another_graph_is_refused(self, store: Store) -> None:
        with pytest.raises(BadInput, match="another graph"):
            store.add_plan(builders.plan(builders.graph(5)), KEY)

    @given(st.tuples(text, text, text), st.tuples(text, text, text))
    def test_different_keys_have_different_digests(
        self, a: tuple[str, str, str], b: tuple[str, str, str]
    ) -> None:
        keys = [PlanKey("0" * 64, one[0], one[1], None, one[2]) for one in (a, b)]
        assert (keys[0].digest() == keys[1].digest()) == (a == b)


class TestRuns:
    def test_round_trip(self, store: Store) -> None:
        plan_id = store.add_plan(builders.plan(GRAPH), KEY)
        first, second = builders.run(plan_id), builders.run(f"sha256:{plan_id}", measured=None)
        for run in (first, second):
            assert store.run(store.add_run(run)) == run
        assert store.runs_of(plan_id) == [second, first]
        assert store.runs_of("0" * 64) == []


@pytest.mark.promise("fault-15")
class TestWhatCannotBeStored:
    @pytest.mark.parametrize("step", [float("nan"), float("inf"), -1.0])
    def test_seconds(self, store: Store, step: float) -> None:
        with pytest.raises(BadInput):
            store.add_profile(msgspec.structs.replace(builders.profile(GRAPH), step_seconds=step))
        assert store.list_items() == []

    @pytest.mark.parametrize("size", [2**63, 2**64, -1])
    def test_bytes(self, store: Store, size: int) -> None:
        with pytest.raises(BadInput):
            store.add_profile(msgspec.structs.replace(builders.profile(GRAPH), peak_bytes=size))
        assert store.list_items() == []

    def test_a_bad_allocation_leaves_nothing_behind(self, store: Store) -> None:
        profile = builders.profile(GRAPH)
        blocks = (msgspec.structs.replace(profile.timeline.allocations[0], bytes=-1),)
        timeline = msgspec.structs.replace(profile.timeline, allocations=blocks)
        with pytest.raises(BadInput):
            store.add_profile(msgspec.structs.replace(profile, timeline=timeline))
        assert store.list_items() == []

    def test_half_a_character(self, store: Store) -> None:
        with pytest.raises(BadInput, match="surrogates"):
            store.add_profile(builders.profile(GRAPH, model="\udc80"))


class TestItems:
    def test_list(self, store: Store) -> None:
        profile_id = store.add_profile(builders.profile(GRAPH))
        plan_id = store.add_plan(builders.plan(GRAPH), KEY)
        run_id = store.add_run(builders.run(plan_id))
        by_kind = {row.kind: row for row in store.list_items()}
        assert {kind: row.id for kind, row in by_kind.items()} == {
            "profile": profile_id,
            "graph": GRAPH.hash().removeprefix("sha256:"),
            "plan": plan_id,
            "run": run_id,
        }
        assert {row.model for row in by_kind.values()} == {"__main__.Net"}
        assert by_kind["plan"].peak_origin == "predicted"
        assert by_kind["profile"].peak_origin == by_kind["run"].peak_origin == "measured"
        assert [row.kind for row in store.list_items("plan")] == ["plan"]

    def test_resolve(self, store: Store) -> None:
        plan_id = store.add_plan(builders.plan(GRAPH), KEY)
        item = Item("plan", plan_id)
        assert store.resolve(plan_id) == item
        assert store.resolve(plan_id[:4].upper()) == item
        assert store.resolve(f"sha256:{plan_id[:12]}") == item

    @pytest.mark.parametrize("prefix", ["", "abc", "nothex", "0" * 65, "%%%%", "ab' or 1"])
    def test_what_is_no_prefix(self, store: Store, prefix: str) -> None:
        with pytest.raises(BadInput, match="no id"):
            store.resolve(prefix)

    def test_unknown(self, store: Store) -> None:
        with pytest.raises(BadInput, match="nothing in the store begins with 0000"):
            store.resolve("0000")

    def test_ambiguous_names_the_candidates(self, store: Store) -> None:
        database = sqlite_utils.Database(str(store.path))
        for seed in range(3):
            plan_id = store.add_plan(builders.plan(GRAPH, seed=seed), KEY)
            database["plans"].update(seed + 1, {"id": "abcd" + plan_id[4:]})
        with pytest.raises(BadInput, match=r"abcd is ambiguous: plan abcd\w{8}, plan abcd"):
            store.resolve("abcd")


class TestRemoval:
    def test_a_profile_takes_all_along(self, store: Store) -> None:
        profile_id = store.add_profile(builders.profile(GRAPH))
        plan_id = store.add_plan(builders.plan(GRAPH), KEY)
        run_id = store.add_run(builders.run(plan_id))
        item = store.resolve(profile_id)
        expected = store.removal(item)
        assert store.remove(item) == expected
        assert (expected.profiles, expected.plans) == ((profile_id,), (plan_id,))
        assert expected.runs == (run_id,)
        database = sqlite_utils.Database(str(store.path))
        left = {name: database[name].count for name in database.table_names()}
        assert set(left.values()) == {0}, left

    def test_a_graph_stays_while_another_profile_has_it(self, store: Store) -> None:
        first = store.add_profile(builders.profile(GRAPH, model="a"))
        second = store.add_profile(builders.profile(GRAPH, model="b"))
        store.add_plan(builders.plan(GRAPH), KEY)
        removed = store.remove(Item("profile", second))
        assert (removed.graphs, removed.plans) == ((), ())
        assert store.measured_profile(builders.captured(GRAPH), builders.DEVICE).id == first
        assert store.graph(GRAPH.hash()) == GRAPH

    def test_gives_the_space_back(self, store: Store) -> None:
        small = store.path.stat().st_size
        profile_id = store.add_profile(builders.profile(GRAPH, allocations=20_000))
        store.close()
        assert store.path.stat().st_size > small + 1_000_000
        store.remove(Item("profile", profile_id))
        store.close()
        assert store.path.stat().st_size < small + 200_000  # what the tables of an empty store take

    def test_a_plan_takes_its_runs(self, store: Store) -> None:
        store.add_graph(GRAPH)
        plan_id = store.add_plan(builders.plan(GRAPH), KEY)
        store.add_run(builders.run(plan_id))
        store.remove(Item("plan", plan_id))
        assert [row.kind for row in store.list_items()] == ["graph"]


class TestThePlace:
    def test_for_this_user_only(self, store: Store) -> None:
        store.add_graph(GRAPH)
        assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
        files = list(store.path.parent.iterdir())
        assert {file.name for file in files} >= {"store.db", "store.db-wal", "store.db-shm"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

    def test_an_existing_folder_keeps_its_mode(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        Store.open(tmp_path / "store.db").close()
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
