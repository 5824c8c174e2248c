"""The levels of a timeline: few moments, each of them exact, the peak among them."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsa.records.timeline import CATEGORIES, PHASES, Allocation, Site, Timeline
from fastsa.report import levels
from support import report_profiles as profiles

EVENTS = 40
few = settings(deadline=None, max_examples=30)
MOST = st.sampled_from([2, 5, 16, 1500])


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Blocks with any lifetimes; times that stand still, or that nobody noted."""
    step = draw(st.sampled_from([0.0, 1e-6, 0.25]))
    timed = draw(st.booleans())
    sites = tuple(
        Site(draw(st.sampled_from(CATEGORIES)), phase=draw(st.sampled_from([*PHASES, None])))
        for _ in range(3)
    )
    blocks = []
    for _ in range(draw(st.integers(0, 30))):
        birth = draw(st.none() | st.integers(0, EVENTS - 1))
        death = draw(st.none() | st.integers(0 if birth is None else birth + 1, EVENTS))
        seconds = [
            event * step if timed and event is not None else None for event in (birth, death)
        ]
        size = draw(st.integers(0, 1 << 40))
        blocks.append(Allocation(size, birth, death, *seconds, draw(st.integers(0, 2))))
    resident = sum(block.bytes for block in blocks if block.birth is None)
    return Timeline(EVENTS, resident, resident, -1, EVENTS * step, sites, tuple(blocks))


def alive(timeline: Timeline, event: int) -> tuple[int, ...]:
    """Bytes by category, the slow way."""
    sizes = dict.fromkeys(CATEGORIES, 0)
    for block in timeline.alive_at(event):
        sizes[timeline.site(block).category] += block.bytes
    return tuple(sizes.values())


@few
@given(timelines(), MOST)
def test_every_moment_is_what_was_alive_just_after_its_event(timeline: Timeline, most: int) -> None:
    found = levels.of(timeline, most)
    assert len(found.moments) <= most + 1
    for moment in found.moments:
        assert moment.bytes == alive(timeline, moment.event)
        assert moment.total == sum(moment.bytes)


@few
@given(timelines(), MOST)
def test_nothing_higher_than_both_neighbours_is_left_out(timeline: Timeline, most: int) -> None:
    moments = levels.of(timeline, most).moments
    every = {event: sum(alive(timeline, event)) for event in range(-1, EVENTS + 1)}
    assert max(moment.total for moment in moments) == max(every.values())
    for before, after in pairwise(moments):
        assert before.event < after.event
        assert before.at <= after.at
        between = [every[event] for event in range(before.event + 1, after.event)]
        assert max(between, default=0) <= max(before.total, after.total)


@few
@given(timelines(), MOST)
def test_the_last_moment_is_the_end(timeline: Timeline, most: int) -> None:
    assert levels.of(timeline, most).moments[-1].bytes == alive(timeline, EVENTS)


@few
@given(timelines(), MOST, st.integers(1, 200))
def test_columns_keep_the_peak(timeline: Timeline, most: int, count: int) -> None:
    found = levels.of(timeline, most)
    columns = found.columns(count)
    assert len(columns) == count
    assert max(column.total for column in columns) == found.peak.total


@few
@given(timelines())
def test_a_moment_names_a_block_of_its_event(timeline: Timeline) -> None:
    for moment in levels.of(timeline).moments[1:]:
        assert moment.block is not None
        block = timeline.allocations[moment.block]
        assert (block.birth if moment.born else block.death) == moment.event


@few
@given(timelines())
def test_phases_do_not_overlap(timeline: Timeline) -> None:
    found = levels.of(timeline)
    for before, after in pairwise(found.phases):
        assert before.end == after.start
        assert before.phase != after.phase
    assert all(0 <= span.start <= span.end <= found.end for span in found.phases)


def test_a_step_has_a_forward_a_backward_and_an_optimizer() -> None:
    timeline = profiles.timeline()
    found = levels.of(timeline)
    assert [span.phase for span in found.phases] == ["forward", "backward", "optimizer"]
    assert found.peak.total == timeline.peak_bytes
    assert found.peak.event == timeline.peak_event


def test_without_times_the_axis_is_events() -> None:
    found = levels.of(profiles.untimed().timeline)
    assert not found.timed
    assert found.end == profiles.timeline().events


@pytest.mark.parametrize("most", [2, 100, 1500])
def test_the_peak_of_many_events_is_kept(most: int) -> None:
    timeline = profiles.timeline(200)
    found = levels.of(timeline, most)
    assert len(timeline.allocations) > 5000
    assert len(found.moments) <= most + 1
    assert (found.peak.event, found.peak.total) == (timeline.peak_event, timeline.peak_bytes)


def test_no_allocations() -> None:
    empty = msgspec.structs.replace(profiles.timeline(), allocations=(), sites=())
    assert levels.of(empty).peak.total == 0
