"""What a profile's lists add up to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsa.records.profile import NodeTime, OpTime, Saved
from fastsa.records.timeline import CATEGORIES, PHASES
from fastsa.report import at_peak, kept, profile, times
from fastsa.report.at_peak import Block
from fastsa.report.html import peak_tree
from support import report_profiles as profiles

NAMES = st.sampled_from(["a", "b", "0", "1", "", "<b>"])
MODULES = st.none() | st.lists(NAMES, min_size=1, max_size=12).map(".".join)
few = settings(deadline=None, max_examples=30)
BLOCKS = st.lists(
    st.builds(
        Block,
        st.integers(0, 1000),
        st.sampled_from(CATEGORIES),
        NAMES,
        st.none() | NAMES,
        st.none(),
        st.none(),
        MODULES,
    ),
    max_size=40,
)


@few
@given(BLOCKS)
def test_a_modules_bytes_are_those_of_its_tiles(blocks: list[Block]) -> None:
    tiles = peak_tree.of(blocks)
    assert tiles[0].bytes == sum(block.bytes for block in blocks)
    inside = [0] * len(tiles)
    for tile in tiles:
        if tile.parent is not None:
            inside[tile.parent] += tile.bytes
    for position, tile in enumerate(tiles):
        assert tile.parent is None or tile.parent < position
        if tile.category is None and blocks:
            assert inside[position] == tile.bytes
    leaves = [tile for tile in tiles if tile.category is not None]
    for category in CATEGORIES:
        whole = sum(block.bytes for block in blocks if block.category == category)
        assert sum(tile.bytes for tile in leaves if tile.category == category) == whole


def test_modules_are_split_at_their_dots() -> None:
    blocks = at_peak.alive(profiles.timeline())
    modules = {tile.module for tile in peak_tree.of(blocks)}
    assert {"transformer", "transformer.h.0.attn", "transformer.h.5.mlp.up"} <= modules


def test_a_tree_of_many_modules_is_small() -> None:
    blocks = [
        Block(1, "activation", None, None, None, None, f"m.{i}.{j}")
        for i in range(200)
        for j in range(200)
    ]
    assert len(peak_tree.of(blocks)) < 1000


@few
@given(BLOCKS)
def test_nothing_is_lost_by_source_or_category(blocks: list[Block]) -> None:
    whole = sum(block.bytes for block in blocks)
    assert sum(each.bytes for each in at_peak.by_category(blocks)) == whole
    lines = at_peak.by_source(blocks)
    if any(block.source for block in blocks):
        assert sum(each.bytes for each in lines) == whole
        assert [each.bytes for each in lines] == sorted((e.bytes for e in lines), reverse=True)


def _saved(module: str | None, size: int, *, parameter: bool = False, used: float = 2.0) -> Saved:
    made = None if parameter else 0.5
    return Saved(
        "AddmmBackward0", "mat1", size, (1,), "f", parameter, None, module, None, made, used
    )


def test_kept_by_module_and_layer() -> None:
    saved = [
        _saved("h.0.mlp", 4),
        _saved("h.1.mlp", 2, used=4.5),
        _saved("head", 5),
        _saved("head", 100, parameter=True),
    ]
    assert [(each.module, each.bytes) for each in kept.by_module(saved)] == [
        ("head", 5),
        ("h.0.mlp", 4),
        ("h.1.mlp", 2),
    ]
    first = kept.by_layer(saved)[0]
    assert (first.module, first.modules, first.tensors, first.bytes) == ("h.*.mlp", 2, 2, 6)
    assert first.wait_seconds == pytest.approx(4.0)


def test_kept_of_no_known_module_is_not_listed_by_module() -> None:
    assert kept.by_module([_saved(None, 4)]) == ()
    assert kept.by_node([_saved(None, 4)])[0].bytes == 4


@few
@given(
    st.lists(
        st.builds(
            OpTime,
            NAMES,
            st.sampled_from(PHASES),
            MODULES,
            NAMES,
            st.integers(1, 9),
            st.integers(0, 99),
        )
    )
)
def test_seconds_add_up(ops: list[OpTime]) -> None:
    for lines in (times.by_op(ops), times.by_module(ops), times.by_layer(ops)):
        for line in lines:
            assert sum(line.phases.values()) == line.seconds
        if lines:
            assert sum(line.seconds for line in lines) == sum(each.seconds for each in ops)
            assert sum(line.calls for line in lines) == sum(each.calls for each in ops)


def test_without_op_times_the_graphs_are_shown() -> None:
    report = profile.summarize("0" * 64, profiles.untimed())
    assert report.ops_from == "alone"
    assert {each.label for each in report.ops} == {"aten.mm.default", "aten.mm_backward.default"}
    assert profile.summarize("0" * 64, profiles.full()).ops_from == "step"


def test_backward_nodes() -> None:
    nodes = [NodeTime("A", "x", 1, 1.0), NodeTime("A", "y", 2, 2.0), NodeTime("B", None, 1, 9.0)]
    assert [(n.label, n.calls, n.seconds) for n in times.by_node(nodes)] == [
        ("B", 1, 9.0),
        ("A", 3, 3.0),
    ]
