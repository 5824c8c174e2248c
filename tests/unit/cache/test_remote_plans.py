"""The second tier: what one store has, another gets; what is not what it says, nobody gets."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from functools import cache
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastsa.cache import integrity
from fastsa.cache.keys import PlanKey
from fastsa.cache.remote import Remote, Unreachable, shown
from fastsa.cache.remote_plans import GRAPHS, PLANS, RemotePlans, SharedGraph, SharedPlan
from fastsa.cache.store import Store
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.planner.search import PLANNER_VERSION
from fastsa.planner.solve import plan
from support import builders

replace = msgspec.structs.replace

HERE = {"name": builders.DEVICE}
GRAPH = replace(builders.graph(6), device=HERE)
KEY = PlanKey.of(
    GRAPH.hash(), device=builders.DEVICE, versions={"torch": "2"}, planner=PLANNER_VERSION
)
CAPTURED = "c" * 64
BASE = plan(GRAPH, 1 << 60, time_limit=0, iterations=0)


@cache
def planned(share: float) -> Plan:
    """A plan at a share of the peak."""
    found = plan(GRAPH, int(BASE.peak_bytes * share), time_limit=60, iterations=100)
    assert found.fits
    return found


class Place:
    """A folder that is shared, and a store that is not."""

    def __init__(self, folder: Path) -> None:
        self.url = str(folder / "shared")
        self.folder = Path(self.url)
        self.store = Store.open(folder / "store.db")

    def shared(self, patience: float | None = 20.0) -> RemotePlans:
        return RemotePlans(Remote(self.url, patience))

    def push(self, *plans: Plan, in_curve: bool = False) -> list[Path]:
        """Let others have a graph and plans. The files of the plans."""
        shared = self.shared()
        shared.push_graph(GRAPH, CAPTURED)
        for each in plans:
            shared.push_plan(each, KEY, in_curve=in_curve)
        assert shared.finish() == 1 + len(plans)
        return sorted((self.folder / PLANS / KEY.digest()).glob("*"))

    def write(self, document: SharedPlan | SharedGraph, number: int = 1) -> None:
        """An object as anybody may make it."""
        data = msgspec.json.encode(document)
        is_plan = isinstance(document, SharedPlan)
        folder = self.folder / (f"{PLANS}/{KEY.digest()}" if is_plan else f"{GRAPHS}/{CAPTURED}")
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{number}-{hashlib.sha256(data).hexdigest()}"
        (folder / name).write_bytes(integrity.pack(data))

    def fetch(self, step_budget_bytes: int = 1 << 60, graph: Graph = GRAPH) -> list[Plan]:
        """What a store has once it has asked."""
        self.shared().fetch_plans(self.store, graph, KEY, step_budget_bytes)
        return [self.store.plan(row.id) for row in self.store.list_items("plan")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class TestThereAndBack:
    def test_a_plan(self, place: Place) -> None:
        made = planned(0.7)
        place.push(made)
        (found,) = place.fetch()
        assert found.sequence == made.sequence
        assert found.planner == made.planner

    def test_a_graph(self, place: Place) -> None:
        place.push()
        shared = place.shared()
        assert shared.fetch_graphs(place.store, CAPTURED, "another device") == 0
        assert place.store.measured_graph(CAPTURED, builders.DEVICE) is None
        assert shared.fetch_graphs(place.store, f"sha256:{CAPTURED}", builders.DEVICE) == 1
        assert place.store.measured_graph(CAPTURED, builders.DEVICE) == GRAPH

    def test_the_latest_graph_counts(self, place: Place) -> None:
        for number, seconds in ((20, 2.0), (100, 3.0), (3, 1.0)):
            ops = tuple(replace(op, seconds=seconds) for op in GRAPH.ops)
            place.write(SharedGraph(replace(GRAPH, ops=ops), CAPTURED), number)
        place.shared().fetch_graphs(place.store, CAPTURED, builders.DEVICE)
        found = place.store.measured_graph(CAPTURED, builders.DEVICE)
        assert found is not None
        assert found.ops[0].seconds == 3.0

    def test_its_seconds_are_those_of_this_machine(self, place: Place) -> None:
        place.push(planned(0.7))
        slower = replace(GRAPH, ops=tuple(replace(op, seconds=7 * op.seconds) for op in GRAPH.ops))
        assert slower.hash() == GRAPH.hash()
        (found,) = place.fetch(graph=slower)
        assert found.base_seconds == pytest.approx(7 * GRAPH.base_seconds)

    def test_what_is_closest_to_the_budget(self, place: Place) -> None:
        plans = [planned(share) for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)]
        place.push(*plans)
        budget = plans[3].peak_bytes
        found = place.fetch(budget)
        assert 1 <= len(found) <= 4
        assert max(each.peak_bytes for each in found) == budget

    def test_of_a_curve(self, place: Place) -> None:
        """Every budget was searched: the closest is what would be found for this one."""
        made = planned(0.6)
        place.push(made, in_curve=True)
        budget = made.step_budget_bytes + 100
        (found,) = place.fetch(budget)
        assert found.step_budget_bytes == budget

    def test_all_at_once(self, place: Place, tmp_path: Path) -> None:
        place.store.add_graph(GRAPH, CAPTURED)
        place.store.add_plans([planned(0.6), planned(0.8)], KEY, "c" * 64)
        assert place.shared().push_all(place.store) == (1, 2)
        assert place.shared().push_all(place.store) == (0, 0)
        with Store.open(tmp_path / "other.db") as other:
            shared = place.shared()
            assert shared.fetch_all(other) == (1, 2)
            assert shared.refused == []
            assert other.known_graph(GRAPH.hash()) == GRAPH
            assert len(other.list_items("plan")) == 2

    def test_nothing_is_there(self, place: Place) -> None:
        assert place.fetch() == []
        assert place.shared().fetch_all(place.store) == (0, 0)
        assert not place.folder.exists()


@pytest.mark.promise("fault-32")
class TestDamage:
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
    @pytest.mark.parametrize("how", ["flipped", "cut"])
    def test_an_object(self, place: Place, how: str, share: float) -> None:
        (file,) = place.push(planned(0.7))
        data = bytearray(file.read_bytes())
        at = int(len(data) * share)
        if how == "cut":
            del data[at:]
        else:
            data[at] ^= 0xFF
        file.write_bytes(data)
        shared = place.shared()
        if shared.fetch_plans(place.store, GRAPH, KEY, 1 << 60):
            # zlib's own checksum, at the end, may be lost: the document is whole by ours.
            assert share == 0.999
            return
        assert shared.refused
        assert place.store.list_items("plan") == []

    def test_it_is_passed_over(self, place: Place) -> None:
        good, bad = place.push(planned(0.6), planned(0.9))
        bad.write_bytes(b"")
        assert len(place.fetch()) == 1
        assert good.exists()

    @pytest.mark.parametrize("name", ["", "x", "-", "1-", "9" * 40, "..", "1-" + "0" * 64, "²-x"])
    def test_other_files(self, place: Place, name: str) -> None:
        place.push(planned(0.7))
        for folder in (f"{PLANS}/{KEY.digest()}", f"{GRAPHS}/{CAPTURED}"):
            if name not in ("", ".."):
                (place.folder / folder / name).write_bytes(b"what is this")
            (place.folder / folder / "a folder").mkdir()
        assert len(place.fetch()) == 1
        assert place.shared().fetch_graphs(place.store, CAPTURED, builders.DEVICE) == 1

    def test_too_large(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        (file,) = place.push(planned(0.7))
        monkeypatch.setattr("fastsa.cache.remote_plans.MOST_BYTES", file.stat().st_size - 1)
        with pytest.raises(Unreachable, match="more than"):
            place.fetch()


@pytest.mark.promise("fault-32")
class TestLies:
    """Objects whose checksum is right, and which are not what they say."""

    def test_another_graph(self, place: Place) -> None:
        other = builders.graph(4)
        place.write(SharedPlan(KEY, plan(other, 1 << 60, time_limit=0)))
        assert place.fetch() == []

    def test_another_key(self, place: Place) -> None:
        key = replace(KEY, device="another")
        place.write(SharedPlan(key, planned(0.7)))
        assert place.fetch() == []

    def test_an_illegal_order(self, place: Place) -> None:
        made = planned(0.7)
        place.write(SharedPlan(KEY, replace(made, sequence=made.sequence[::-1])))
        assert place.fetch() == []

    def test_one_without_end(self, place: Place) -> None:
        made = planned(0.7)
        endless = made.sequence[:1] * 1000 + made.sequence
        starts = (0, made.segment_starts[1] + 1000)
        place.write(SharedPlan(KEY, replace(made, sequence=endless, segment_starts=starts)))
        assert place.fetch() == []

    def test_a_smaller_peak(self, place: Place) -> None:
        """It says that it fits; it is stored with the peak that it has, or not at all."""
        made = replace(BASE, peak_bytes=1, step_budget_bytes=1)
        place.write(SharedPlan(KEY, made))
        assert place.fetch(step_budget_bytes=10) == []

    def test_a_graph_of_another_region(self, place: Place) -> None:
        place.write(SharedGraph(GRAPH, "d" * 64))
        assert place.shared().fetch_graphs(place.store, CAPTURED, builders.DEVICE) == 0

    def test_a_senseless_graph(self, place: Place) -> None:
        ops = (replace(GRAPH.ops[0], inputs=(10**6,)), *GRAPH.ops[1:])
        place.write(SharedGraph(replace(GRAPH, ops=ops), CAPTURED))
        assert place.shared().fetch_graphs(place.store, CAPTURED, builders.DEVICE) == 0

    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(data=st.data())
    def test_anything(self, place: Place, data: st.DataObject) -> None:
        """A good document with one part of it replaced by something else."""
        document = msgspec.to_builtins(SharedPlan(KEY, planned(0.7)))
        path = data.draw(st.sampled_from([("plan", name) for name in document["plan"]]))
        junk = st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=4),
            max_leaves=5,
        )
        document[path[0]][path[1]] = data.draw(junk)
        encoded = msgspec.json.encode(document)
        folder = place.folder / PLANS / KEY.digest()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / f"1-{hashlib.sha256(encoded).hexdigest()}").write_bytes(integrity.pack(encoded))
        for found in place.fetch():
            assert found.peak_bytes == planned(0.7).peak_bytes


@pytest.mark.promise("fault-31")
class TestPatience:
    def test_it_hangs(self, place: Place) -> None:
        """A named pipe that nobody writes is opened for ever."""
        (file,) = place.push(planned(0.7))
        file.unlink()
        os.mkfifo(file)
        # A pipe is no file for the listing, so it is asked for by name.
        remote = Remote(place.url, 0.3)
        started = time.monotonic()
        with pytest.raises(Unreachable, match=r"took longer than the 0\.3 s"):
            remote.get(f"{PLANS}/{KEY.digest()}/{file.name}", 100)
        with pytest.raises(Unreachable, match="took longer"):
            remote.entries(PLANS)  # is not even tried
        assert time.monotonic() - started < 60
        assert place.fetch() == []

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("nonsense://place", "Protocol not known"),
            ("/dev/null", "NotADirectory"),
            ("\0", "null byte"),
        ],
    )
    def test_no_such_place(self, tmp_path: Path, url: str, why: str) -> None:
        with pytest.raises(Unreachable, match=why):
            Remote(url, 20.0).entries(PLANS)

    def test_a_place_to_read_only(self) -> None:
        remote = Remote("/sys", 20.0)  # not even root may write there
        remote.put("fastsa-test/object", b"data")
        assert remote.finish() == 1
        assert remote.is_read_only


def test_passwords_are_not_shown() -> None:
    assert shown("s3://key:secret@bucket/x") == "s3://***@bucket/x"
    assert shown("s3://bucket/x@y") == "s3://bucket/x@y"
    with pytest.raises(Unreachable) as caught:
        Remote("nonsense://me:secret@place", 20.0).entries("x")
    assert "secret" not in str(caught.value)
