"""Exports are read by others: PyTorch's own reader, JSON and CSV parsers, and fastsa's importer."""

from __future__ import annotations

import csv
import io
import json
import pickle
import pickletools
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from fastsa.errors import BadInput
from fastsa.profiler import profile_file
from fastsa.records.profile import Profile
from fastsa.records.timeline import CATEGORIES, Site
from fastsa.report import export
from support import builders, whole_profiles
from support.whole_profiles import Life, live_bytes, profile

# What torch/utils/viz/MemoryViz.js (of PyTorch) reads, of what a protocol 4 pickle of
# plain data consists of.
VIEWER_KNOWS = {
    *("PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINGET", "LONG_BINGET"),
    *("EMPTY_DICT", "EMPTY_LIST", "SETITEM", "SETITEMS", "APPEND", "APPENDS"),
    *("SHORT_BINUNICODE", "BINUNICODE", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BININT", "BININT1", "BININT2", "LONG1"),
}
few = settings(deadline=None, max_examples=30)
KEYS = {"segments", "device_traces", "allocator_settings", "external_annotations"}


def snapshot(of: Profile) -> Any:
    return pickle.loads(export.encode(of, "memory-viz"))  # noqa: S301 - it was made here


def replayed(data: Any) -> list[int]:
    """Live bytes before the first event and after each alloc and free, as the viewer counts."""
    (trace,) = data["device_traces"]
    spans = [(s["address"], s["address"] + s["total_size"]) for s in data["segments"]]
    alive: dict[int, int] = {}
    born: set[int] = set()
    before: dict[int, int] = {}
    for segment in data["segments"]:
        for block in segment["blocks"]:
            if block["state"] == "active_allocated":
                before[block["address"]] = block["requested_size"]
    changes = []
    for entry in trace:
        address, size = entry["addr"], entry["size"]
        if entry["action"] == "snapshot":
            continue
        assert any(start <= address and address + size <= end for start, end in spans)
        if entry["action"] == "alloc":
            assert all(a + s <= address or address + size <= a for a, s in alive.items() if s)
            alive[address] = size
            born.add(address)
            before.pop(address, None)
            changes.append(size)
        elif entry["action"] == "free_completed":
            if address not in alive:
                assert address not in born
                before[address] = size
            alive.pop(address, None)
            born.discard(address)
            changes.append(-size)
    at_end = sum(
        block["requested_size"]
        for segment in data["segments"]
        for block in segment["blocks"]
        if block["state"] == "active_allocated"
    )
    live = [at_end - sum(changes)]
    for change in changes:
        live.append(live[-1] + change)
    return live


class TestMemoryViz:
    @few
    @given(whole_profiles.lives())
    def test_the_viewer_sees_the_same_bytes(self, lives: list[Life]) -> None:
        made = profile(lives)
        live = replayed(snapshot(made))
        assert live[0] == made.timeline.resident_bytes
        assert max(live) == made.timeline.peak_bytes
        assert live[-1] == live_bytes(made.timeline)[-1]

    @few
    @given(whole_profiles.lives())
    def test_pytorchs_own_reader_reads_it(self, lives: list[Life]) -> None:
        from torch.cuda import _memory_viz

        made = profile(lives)
        data = snapshot(made)
        told = _memory_viz.trace(data)
        born = [life for life in lives if life[1] is not None and life[1] != life[2]]
        assert told.count(" = seg_0[") + told.count(" = MEM[") == len(born)
        assert "total_allocated: " in _memory_viz.segsum(data)  # checks its sums itself
        html = _memory_viz.trace_plot(data)
        assert "Active Memory Timeline" in html

    def test_layout(self) -> None:
        data = snapshot(profile())
        assert set(data) == KEYS | {"fastsa"}
        (segment,) = data["segments"]
        sizes = [block["size"] for block in segment["blocks"]]
        assert sum(sizes) == segment["total_size"]
        assert {"device", "address", "stream", "segment_type", "allocated_size"} <= set(segment)
        (trace,) = data["device_traces"]
        assert {entry["action"] for entry in trace} == {
            "snapshot",
            "alloc",
            "free_requested",
            "free_completed",
        }
        alloc = next(entry for entry in trace if entry["action"] == "alloc")
        assert (alloc["size"], alloc["category"]) == (16 * 1024, "gradient")
        assert alloc["frames"][0] == {
            "filename": "/home/me/train.py",
            "line": 13,
            "name": "aten::op_3",
        }
        assert "blocks.3.mlp" in alloc["frames"][1]["name"]
        assert trace[-1]["time_us"] - trace[0]["time_us"] == 9
        # The viewer has a list of categories only with this one among them.
        assert "unknown" in {entry["category"] for entry in trace}

    @few
    @given(whole_profiles.lives())
    def test_plain_data_of_protocol_4(self, lives: list[Life]) -> None:
        data = export.encode(profile(lives), "memory-viz")
        opcodes = [(op.name, argument) for op, argument, _ in pickletools.genops(data)]
        assert opcodes[0] == ("PROTO", 4)
        assert {name for name, _ in opcodes} <= VIEWER_KNOWS

    def test_many_sites_and_long_names(self) -> None:
        sites = [Site("temporary", source=f"/{'x' * 300}/a.py:{i}") for i in range(400)]
        lives: list[Life] = [(512, i, None) for i in range(2500)]
        data = snapshot(profile(lives, sites=sites))
        allocs = [each for each in data["device_traces"][0] if each["action"] == "alloc"]
        assert [each["frames"][0]["line"] for each in allocs] == [i % 400 for i in range(2500)]

    def test_integers_of_more_than_8_bytes_are_refused(self) -> None:
        data = snapshot(profile([(1 << 45, 0, None)]))
        assert data["segments"][0]["total_size"] == 1 << 45
        with pytest.raises(BadInput, match="more than 8 bytes"):
            export.encode(profile([(1 << 62, 0, None), (1 << 62, 1, None)]), "memory-viz")

    def test_half_a_character(self) -> None:
        made = profile(sites=[Site("temporary", source="/\udc80/a.py:1")])
        entry = snapshot(made)["device_traces"][0][1]
        assert entry["frames"][0]["filename"] == "/?/a.py"


class TestRoundTrip:
    @few
    @given(whole_profiles.lives())
    def test_what_is_exported_is_imported(
        self, tmp_path_factory: pytest.TempPathFactory, lives: list[Life]
    ) -> None:
        made = profile(lives)
        file = tmp_path_factory.mktemp("trip") / "a.pickle"
        file.write_bytes(export.encode(made, "memory-viz"))
        again = profile_file.read(file)
        assert again.peak_bytes == made.peak_bytes
        assert again.resident_bytes == made.resident_bytes
        assert live_bytes(again.timeline)[-1] == live_bytes(made.timeline)[-1]
        assert max(live_bytes(again.timeline)) == again.peak_bytes
        assert (again.script, again.model, again.device) == (made.script, made.model, made.device)

        def told(of: Profile) -> list[tuple[Any, ...]]:
            return sorted(
                (a.bytes, of.timeline.site(a).category, of.timeline.site(a).source or "")
                for a in of.timeline.allocations
                if a.birth is None or a.birth != a.death
            )

        assert told(again) == told(made)

    def test_importing_twice_gives_the_same(self, tmp_path: Path) -> None:
        file = tmp_path / "a.pickle"
        file.write_bytes(export.encode(profile(), "memory-viz"))
        first = profile_file.read(file)
        file.touch()
        assert profile_file.read(file).id() == first.id()
        file.write_bytes(export.encode(first, "memory-viz"))
        second = profile_file.read(file)
        assert sorted(map(msgspec.structs.astuple, second.timeline.sites)) == sorted(
            map(msgspec.structs.astuple, first.timeline.sites)
        )
        assert live_bytes(second.timeline) == live_bytes(first.timeline)

    @pytest.mark.parametrize("what", ["profile", "json"])
    def test_the_whole_profile(self, tmp_path: Path, what: export.Format) -> None:
        made = profile(whole_profiles.LIVES, builders.graph())
        file = tmp_path / "profile.json"
        file.write_bytes(export.encode(made, what))
        assert profile_file.read(file) == made


class TestChromeTrace:
    def trace(self, of: Profile) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(export.encode(of, "chrome-trace"))
        return found

    @few
    @given(whole_profiles.lives())
    def test_events_are_those_of_the_format(self, lives: list[Life]) -> None:
        trace = self.trace(profile(lives, builders.graph()))
        assert trace["displayTimeUnit"] in ("ms", "ns")
        assert all(isinstance(value, str) for value in trace["otherData"].values())
        named = {(e["pid"], e["tid"]) for e in trace["traceEvents"] if e["name"] == "thread_name"}
        for event in trace["traceEvents"]:
            assert event["ph"] in "MCX"
            assert isinstance(event["pid"], int)
            assert isinstance(event["tid"], int)
            assert event["ts"] >= 0
            if event["ph"] == "X":
                assert event["dur"] >= 0
                assert (event["pid"], event["tid"]) in named
            if event["ph"] == "C":
                assert all(isinstance(value, int) for value in event["args"].values())

    @few
    @given(whole_profiles.lives())
    def test_counters_have_the_peak_the_start_and_the_end(self, lives: list[Life]) -> None:
        made = profile(lives)
        both = [e for e in self.trace(made)["traceEvents"] if e["ph"] == "C"]
        totals, counters = both[::2], both[1::2]
        assert {event["name"] for event in totals} == {"live bytes"}
        sums = [sum(event["args"].values()) for event in counters]
        assert sums[0] >= made.resident_bytes
        assert max(sums) == made.peak_bytes
        assert sums == [event["args"]["all"] for event in totals]
        assert sums[-1] == live_bytes(made.timeline)[-1]
        assert all(e["ts"] <= f["ts"] for e, f in pairwise(counters))
        assert set(counters[0]["args"]) == set(CATEGORIES)

    @few
    @given(whole_profiles.lives())
    def test_bars_of_a_lane_do_not_overlap(self, lives: list[Life]) -> None:
        ends: dict[tuple[int, int], float] = {}
        bars = [e for e in self.trace(profile(lives))["traceEvents"] if e["ph"] == "X"]
        for event in bars:
            lane = event["pid"], event["tid"]
            assert event["ts"] >= ends.get(lane, 0.0) - 1e-9
            ends[lane] = event["ts"] + event["dur"]

    def test_a_long_step_is_thinned_and_keeps_its_peak(self) -> None:
        lives: list[Life] = [(512, i, i + 1) for i in range(0, 60_000, 2)]
        lives[17_003] = (1 << 30, lives[17_003][1], lives[17_003][2])
        blocks = whole_profiles.timeline([])
        made = profile()
        long = msgspec.structs.replace(
            blocks,
            events=60_000,
            seconds=0.06,
            allocations=tuple(
                msgspec.structs.replace(
                    made.timeline.allocations[3],
                    bytes=size,
                    birth=birth,
                    death=death,
                    birth_seconds=(birth or 0) * 1e-6,
                    death_seconds=(death or 0) * 1e-6,
                )
                for size, birth, death in lives
            ),
        )
        trace = self.trace(msgspec.structs.replace(made, timeline=long))["traceEvents"]
        counters = [event for event in trace if event["ph"] == "C"]
        assert len(counters) < 2 * 6_000
        assert max(sum(event["args"].values()) for event in counters) == 1 << 30
        assert sum(event["ph"] == "X" and event["pid"] == 2 for event in trace) == 1_000

    def test_says_what_is_not_measured_as_it_ran(self) -> None:
        trace = self.trace(profile(whole_profiles.LIVES, builders.graph()))["traceEvents"]
        names = [e["args"]["name"] for e in trace if e["name"] == "process_name"]
        assert any("not when they ran" in name for name in names)
        ops = [event for event in trace if event["ph"] == "X" and event["pid"] == 3]
        assert len(ops) == 6
        assert sum(event["dur"] for event in ops) == pytest.approx(9e-4 * 1e6)


class TestCsv:
    def rows(self, of: Profile) -> list[dict[str, str]]:
        text = export.encode(of, "csv").decode()
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))

    def test_rows(self) -> None:
        made = profile()
        data = export.encode(made, "csv")
        assert data.splitlines(keepends=True)[0] == (
            b"allocation,bytes,birth,death,birth_seconds,death_seconds,category,phase,op,module,"
            b"source,node\r\n"
        )
        rows = self.rows(made)
        assert len(rows) == len(whole_profiles.LIVES)
        assert [int(row["bytes"]) for row in rows] == [life[0] for life in whole_profiles.LIVES]
        assert rows[0] | {"birth": "", "death": ""} == rows[0]
        assert (rows[5]["category"], rows[5]["node"]) == ("activation", "AddmmBackward0")

    @pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
    def test_nothing_computes_in_a_spreadsheet(self, name: str) -> None:
        (row, *_) = self.rows(profile(sites=[Site("other", op=name, source='a,"b"\n.py:1')]))
        assert row["op"][0] in "'\\"
        assert name.lstrip("\t\r") in row["op"]
        assert row["source"] == 'a,"b"\\n.py:1'

    def test_nothing_steers_a_terminal(self) -> None:
        (row, *_) = self.rows(profile(sites=[Site("other", module="\x1b[2J模型")]))
        assert row["module"] == "\\x1b[2J模型"


@pytest.mark.parametrize("what", ["profile", "csv", "chrome-trace", "memory-viz"])
def test_a_region_is_of_a_graph(what: export.Format) -> None:
    with pytest.raises(BadInput, match="whole profile"):
        export.encode(profile(whole_profiles.LIVES, builders.graph()), what, 0)
