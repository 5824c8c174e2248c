"""Snapshots and profiles from files: pairing, rounding, and nothing that a hostile file can do."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from fastsa.errors import BadInput
from fastsa.profiler import pickle_reader, profile_file
from fastsa.records.profile import Profile
from fastsa.report import export
from support import builders, whole_profiles
from support.properties import property_test
from support.whole_profiles import live_bytes

USER = {"filename": "/home/me/train.py", "line": 12, "name": "forward"}
TORCH = {"filename": "/venv/lib/python3.11/site-packages/torch/nn/x.py", "line": 1, "name": "f"}
CPP = {"filename": "??", "line": 0, "name": "c10::alloc"}
START = 1_767_323_045_000_000
BASE = 0x7F00_0000_0000


def entry(action: str, slot: int, size: int, time: int = 0, *frames: Any) -> dict[str, Any]:
    return {
        "action": action,
        "addr": BASE + slot * 4096,
        "size": size,
        "stream": 0,
        "time_us": START + time,
        "frames": list(frames),
    }


def segment(*blocks: tuple[int, str], device: int = 0) -> dict[str, Any]:
    return {
        "device": device,
        "address": BASE,
        "total_size": 4096 * len(blocks),
        "stream": 0,
        "blocks": [
            {"size": 4096, "requested_size": asked, "state": state, "frames": [USER]}
            for asked, state in blocks
        ],
    }


def snapshot(*entries: dict[str, Any], segments: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"device_traces": [[], list(entries)], "segments": list(segments)}


def lives(profile: Profile) -> list[tuple[int, int | None, int | None]]:
    """(bytes, birth, death) of each allocation, in any but always the same order."""
    return sorted(((a.bytes, a.birth, a.death) for a in profile.timeline.allocations), key=str)


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., Profile]:
    def write(data: object, protocol: int | None = None) -> Profile:
        file = tmp_path / "snapshot.pickle"
        file.write_bytes(data if isinstance(data, bytes) else pickle.dumps(data, protocol))
        return profile_file.read(file)

    return write


Imported = Callable[..., Profile]


class TestPairing:
    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_a_step(self, imported: Imported, protocol: int) -> None:
        profile = imported(
            snapshot(
                entry("segment_alloc", 0, 1 << 20),
                entry("alloc", 0, 1000, 10, CPP, TORCH, USER),
                entry("alloc", 1, 512, 20),
                entry("free_requested", 0, 1000, 30),
                entry("free_completed", 0, 1000, 31),
                entry("free_requested", 7, 100, 40),  # allocated before the history begins
            ),
            protocol,
        )
        assert lives(profile) == [(1024, 0, 2), (512, 1, None), (512, None, 3)]
        assert (profile.resident_bytes, profile.peak_bytes) == (512, 2048)
        assert profile.timeline.peak_event == 1
        (first,) = [a for a in profile.timeline.allocations if a.birth == 0]
        assert (first.birth_seconds, first.death_seconds) == (10e-6, 30e-6)
        site = profile.timeline.site(first)
        assert (site.category, site.source) == ("temporary", "/home/me/train.py:12")
        assert max(live_bytes(profile.timeline)) == profile.peak_bytes

    def test_what_was_alive_all_along_is_in_the_segments(self, imported: Imported) -> None:
        blocks = segment(
            (1000, "active_allocated"),
            (0, "inactive"),
            (4096, "active_allocated"),
            (100, "active_pending_free"),
            device=1,
        )
        other = segment((1000, "active_allocated"), device=0)
        profile = imported(snapshot(entry("alloc", 2, 4096), segments=(blocks, other)))
        # The block's own size, since what could not be split off counts.
        assert lives(profile) == [(4096, 0, None), (4096, None, None)]
        assert (profile.resident_bytes, profile.peak_bytes) == (4096, 8192)
        assert profile.device == "CUDA device 1"

    def test_the_size_of_what_is_alive_at_the_end_is_the_block_s(self, imported: Imported) -> None:
        blocks = segment((1000, "active_allocated"), device=1)
        profile = imported(snapshot(entry("alloc", 0, 1000), segments=(blocks,)))
        assert lives(profile) == [(4096, 0, None)]

    def test_blocks_without_addresses_follow_one_another(self, imported: Imported) -> None:
        blocks = segment((1, "active_allocated"), (1, "active_allocated"), device=1)
        trace = [entry("free_requested", 0, 4096), entry("alloc", 0, 1)]
        profile = imported(snapshot(*trace, segments=(blocks,)))
        assert lives(profile) == [(4096, 1, None), (4096, None, 0), (4096, None, None)]
        assert (profile.resident_bytes, profile.peak_bytes) == (8192, 8192)

    def test_an_address_given_out_twice_was_free_between(self, imported: Imported) -> None:
        profile = imported(snapshot(entry("alloc", 0, 512), entry("alloc", 0, 512)))
        assert profile.peak_bytes == 512

    def test_without_history(self, imported: Imported) -> None:
        data = {"device_traces": [], "segments": [segment((1000, "active_allocated"))]}
        profile = imported(data)
        assert (profile.peak_bytes, profile.timeline.events) == (4096, 0)
        assert any("no history" in sentence for sentence in profile.missing)

    def test_out_of_memory_is_told(self, imported: Imported) -> None:
        oom = entry("oom", 0, 1 << 40) | {"device_free": 1}
        profile = imported(snapshot(entry("alloc", 0, 512), oom, oom))
        assert any("failed 2 times" in sentence for sentence in profile.missing)
        assert profile.timeline.events == 1

    def test_nothing_at_all(self, imported: Imported) -> None:
        profile = imported({"device_traces": [], "segments": []})
        assert (profile.peak_bytes, profile.timeline.allocations) == (0, ())

    def test_what_torch_itself_makes_of_a_profile(self, imported: Imported) -> None:
        """The one snapshot that PyTorch makes without a GPU."""
        import torch
        from torch.cuda import _memory_viz

        layer = torch.nn.Linear(256, 256)
        with torch.profiler.profile(
            profile_memory=True, record_shapes=True, with_stack=True
        ) as recorded:
            layer(torch.ones(64, 256)).sum().backward()
        data = _memory_viz._profile_to_snapshot(recorded)
        profile = imported(data)
        assert profile.timeline.events > 5
        assert profile.peak_bytes >= 2 * 64 * 256 * 4
        assert max(live_bytes(profile.timeline)) == profile.peak_bytes


class Evil:
    def __init__(self, run: Callable[..., object], *arguments: object) -> None:
        self.call = run, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


class TestHostile:
    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize("run", [os.system, eval, subprocess.call, os.mkdir, getattr])
    def test_nothing_is_called(
        self, imported: Imported, tmp_path: Path, run: Callable[..., object], protocol: int
    ) -> None:
        data = snapshot(segments=({"x": Evil(run, str(tmp_path / "ran"))},))
        with pytest.raises(BadInput, match="refused, it is not only data: it asks for"):
            imported(data, protocol)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "data",
        [
            b"\x80\x02cos\nsystem\n(S'true'\ntR.",
            b"\x80\x02(S'true'\nios\nsystem\n.",
            b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
            b"\x80\x02cbuiltins\nint\n.",  # harmless, and a function all the same
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n.",
            b"\x80\x02P1\n.",
            b"\x80\x04\x8c\x01aQ.",
        ],
    )
    def test_nothing_is_named(self, imported: Imported, data: bytes) -> None:
        with pytest.raises(BadInput, match="refused"):
            imported(data)

    @pytest.mark.parametrize(
        "data",
        [
            b"\x80\x02}r\xff\xff\xff\xff.",  # a memo of 2^32 places: 64 GiB
            b"\x80\x05\x96\x00\x00\x00\x00\x00\x01\x00\x00.",  # a bytearray of 2^40
            b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
            b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
            b"\x80\x04X\xff\xff\xff\xff.",
            b"\x80\x04\x8b\xff\xff\xff\x7f.",
            b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        ],
    )
    def test_no_memory_for_the_asking(self, imported: Imported, data: bytes) -> None:
        import resource

        before = resource.getrlimit(resource.RLIMIT_AS)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(BadInput):
            imported(data)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown
        assert grown < 1.5 * (1 << 20)  # KiB
        assert resource.getrlimit(resource.RLIMIT_AS) == before

    @pytest.mark.parametrize(
        "data",
        [
            b"\x80",
            b"\x80\x04.",
            b"\x80\x04N.",
            b"\x80\x04]. and more",
            b"\x80\xff.",
            b"\x80\x04" + b"(" * 1000,
            b"\x80\x02}(]]u.",  # a list as a key
            b"\x80\x02]}b.",  # BUILD
            b"\x80\x04" + b"]" * 20_000 + b"a" * 19_999 + b".",
            b"\x80\x02\x82\x01.",  # an extension code that nobody registered
            b"\x80\x02(lp0\nh\x05.",
        ],
    )
    def test_nonsense(self, imported: Imported, data: bytes) -> None:
        with pytest.raises(BadInput):
            imported(data)

    def test_a_list_within_itself(self, imported: Imported) -> None:
        loop: list[object] = []
        loop.append(loop)
        with pytest.raises(BadInput):
            imported({"device_traces": loop, "segments": loop})
        frames = snapshot(entry("alloc", 0, 512) | {"frames": loop})
        assert imported(frames).timeline.sites[0].source is None

    def test_laughter_is_not_multiplied(self, imported: Imported) -> None:
        """Ten thousand entries that share fifty thousand frames are not their product."""
        frames = [TORCH] * 50_000
        shared = {**entry("alloc", 0, 512), "frames": frames}
        data = snapshot(*({**shared, "addr": i} for i in range(10_000)))
        assert imported(data).timeline.events == 10_000

    @pytest.mark.parametrize(
        "data",
        [
            [],
            "text",
            {"segments": []},
            {"device_traces": [], "segments": None},
            {"device_traces": [5], "segments": []},
            {"device_traces": [[5]], "segments": []},
            {"device_traces": [[{"action": 5}]], "segments": []},
            snapshot(entry("alloc", 0, -5)),
            snapshot(entry("alloc", 0, 1 << 63)),
            snapshot(entry("alloc", 0, 1 << 70)),
            snapshot(entry("alloc", 0, 1 << 62), entry("alloc", 1, 1 << 62)),
            snapshot(entry("alloc", 0, 512) | {"size": "512"}),
            snapshot(entry("alloc", 0, 512) | {"size": 512.5}),
            snapshot(entry("alloc", 0, 512) | {"time_us": float("nan")}),
            snapshot(segments=({"address": 0, "blocks": [None]},)),
            snapshot(segments=({"address": 0, "blocks": [{"size": -1, "state": ""}]},)),
        ],
    )
    def test_other_data(self, imported: Imported, data: object) -> None:
        with pytest.raises(BadInput, match="no memory snapshot"):
            imported(data)

    def test_odd_things_where_nothing_depends_on_them(self, imported: Imported) -> None:
        odd = {"frames": 5, "category": ["x"], "stream": "no", "more": {1: 2}}
        frames = {"frames": [5, {"filename": 5}, {"filename": "a.py", "line": "1"}, USER]}
        far = {"time_us": (1 << 63) - 1}
        data = snapshot(entry("alloc", 0, 1) | odd, entry("alloc", 1, 1) | frames | far)
        profile = imported(data)
        assert [site.source for site in profile.timeline.sites] == [None, "/home/me/train.py:12"]

    @property_test(40, data=st.data())
    def test_a_flipped_byte_or_a_cut(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        whole = export.encode(whole_profiles.profile(), "memory-viz")
        position = data.draw(st.integers(1, len(whole) - 1))
        if data.draw(st.booleans()):
            damaged = whole[:position]
        else:
            byte = data.draw(st.integers(0, 255))
            damaged = whole[:position] + bytes([byte]) + whole[position + 1 :]
        file = tmp_path_factory.mktemp("fuzz") / "damaged.pickle"
        file.write_bytes(damaged)
        try:
            profile = profile_file.read(file)
        except BadInput:
            return
        assert max(live_bytes(profile.timeline)) == profile.peak_bytes

    @pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.nightly), 7])
    def test_every_cut(self, tmp_path: Path, step: int) -> None:
        made = whole_profiles.profile(whole_profiles.LIVES[:4], sites=whole_profiles.SITES[:1])
        whole = export.encode(made, "memory-viz")
        file = tmp_path / "cut.pickle"
        for length in range(0, len(whole), step):
            file.write_bytes(whole[:length])
            with pytest.raises(BadInput):
                profile_file.read(file)


class TestFiles:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="cannot be read: No such file"):
            profile_file.read(tmp_path / "nothing")
        with pytest.raises(BadInput, match="cannot be read: Is a directory"):
            profile_file.read(tmp_path)
        with pytest.raises(BadInput, match="cannot be read"):
            pickle_reader.read(tmp_path / "nothing")

    def test_too_large(self, tmp_path: Path) -> None:
        file = tmp_path / "large.pickle"
        with file.open("wb") as written:
            written.write(b"\x80\x04")
            written.truncate(pickle_reader.MAX_BYTES + 1)
        with pytest.raises(BadInput, match="larger than"):
            profile_file.read(file)

    def test_profiles_compressed(self, tmp_path: Path) -> None:
        file = tmp_path / "profile.json.gz"
        made = whole_profiles.profile(whole_profiles.LIVES, builders.graph())
        file.write_bytes(gzip.compress(made.encode()))
        assert profile_file.read(file) == made

    def test_a_profile_of_version_1(self, tmp_path: Path) -> None:
        document = json.loads(whole_profiles.profile().encode())
        later = Profile.__struct_fields__[Profile.__struct_fields__.index("regions") + 1 :]
        for name in later:
            del document[name]
        allocation = {"bytes": 512, "birth": 0, "death": 1, "category": "saved"}
        allocation |= {"birth_seconds": 0.0, "death_seconds": 1.0, "source": "a.py:1"}
        numbers = {"events": 2, "resident_bytes": 0, "peak_bytes": 512, "peak_event": 0}
        document |= {"schema": "fastsa.profile/1", "timeline": numbers}
        document["timeline"]["allocations"] = [allocation, allocation | {"category": "other"}] * 2
        file = tmp_path / "old.json"
        file.write_text(json.dumps(document))
        timeline = profile_file.read(file).timeline
        assert [a.site for a in timeline.allocations] == [0, 1, 0, 1]
        assert [(s.category, s.source) for s in timeline.sites] == [
            ("activation", "a.py:1"),
            ("other", "a.py:1"),
        ]
        document["timeline"]["allocations"][0]["category"] = "activation"
        file.write_text(json.dumps(document))
        with pytest.raises(BadInput, match="category"):
            profile_file.read(file)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"schema": "fastsa.graph/1"}, "schema"),
            ({"more": 1}, "unknown field `more`"),
            ({"peak_bytes": "large"}, "peak_bytes"),
            ({"timeline": None}, "timeline"),
        ],
    )
    def test_other_documents(self, change: dict[str, Any], reason: str) -> None:
        document = json.loads(whole_profiles.profile().encode()) | change
        with pytest.raises(BadInput, match=reason):
            profile_file.decode(json.dumps(document).encode())

    @pytest.mark.parametrize(
        ("allocation", "reason"),
        [
            ([-1, None, None, None, None, 0], "bytes are negative"),
            ([1, None, None, None, None, 99], "no site 99"),
            ([1, None, None, None, None, -1], "no site -1"),
            ([1, 5, 4, 0.0, 0.0, 0], "no events in their order"),
            ([1, 500, None, 0.0, None, 0], "no events in their order"),
            ([1, -1, None, 0.0, None, 0], "no events in their order"),
            ([1, 0.5, None, 0.0, None, 0], "Expected `int | null`"),
            ([1], "length"),
        ],
    )
    def test_allocations_that_make_no_sense(self, allocation: list[Any], reason: str) -> None:
        document = json.loads(whole_profiles.profile().encode())
        document["timeline"]["allocations"][3] = allocation
        with pytest.raises(BadInput, match=reason) as told:
            profile_file.decode(json.dumps(document).encode(), "there.json")
        assert "there.json" in str(told.value)

    def test_a_peak_that_is_no_event(self) -> None:
        document = json.loads(whole_profiles.profile().encode())
        document["timeline"]["peak_event"] = 1000
        with pytest.raises(BadInput, match="peak_event"):
            profile_file.decode(json.dumps(document).encode())

    def test_a_graph_that_makes_no_sense(self) -> None:
        made = whole_profiles.profile(whole_profiles.LIVES, builders.graph())
        document = json.loads(made.encode())
        document["regions"][0]["graph"]["ops"][0]["id"] = 7
        with pytest.raises(BadInput):
            profile_file.decode(json.dumps(document).encode())

    @pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b"{}"])
    def test_no_document(self, data: bytes) -> None:
        with pytest.raises(BadInput):
            profile_file.decode(data)
