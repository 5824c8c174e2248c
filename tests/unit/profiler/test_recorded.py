"""What is made of a recording, where the CPU allocator and Python disagree about what was alive."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from types import FrameType

import pytest
import torch

from fastsa.instrumentation.storages import Storage
from fastsa.profiler.recorded import StepObservations, recorded
from fastsa.profiler.recording import Recording
from fastsa.profiler.trace import Trace, TracedBlock

OLD, NEW = 0x1000, 0x2000
SIZE, NEW_SIZE = 4096, 2048


def peaks(*blocks: TracedBlock) -> tuple[int, int]:
    """The timeline's and the allocator's, with one storage alive at the beginning."""
    seen = StepObservations(
        alive={OLD: Storage(SIZE, "other")},
        start_bytes=SIZE,
        library_bytes=0,
        labels=(),
        backwards=(),
    )
    made = recorded(Trace(list(blocks), {"begin": 0, "end": 10}), seen)
    assert made.missing == ()
    assert made.allocator_peak_bytes is not None
    return made.timeline.peak_bytes, made.allocator_peak_bytes


@pytest.mark.parametrize("stale", [64, SIZE, 65536])
def test_a_release_with_the_size_of_a_block_that_went_unseen(stale: int) -> None:
    """Its tensor told the true end; the allocator's total falls by what it believes it to be."""
    end_of_tensor = TracedBlock(1, 0, OLD)
    release = TracedBlock(2, -stale, OLD, total=-stale)
    first = TracedBlock(3, NEW_SIZE, NEW, total=NEW_SIZE - stale)
    second = TracedBlock(4, 4 * SIZE, 0x3000, total=NEW_SIZE + 4 * SIZE - stale)
    assert peaks(end_of_tensor, release, first, second) == (NEW_SIZE + 4 * SIZE,) * 2


def test_a_release_that_only_the_tensor_told() -> None:
    again = TracedBlock(2, NEW_SIZE, OLD, total=NEW_SIZE)
    release = TracedBlock(3, -NEW_SIZE, OLD, total=0)
    last = TracedBlock(4, 4 * SIZE, NEW, total=4 * SIZE)
    assert peaks(TracedBlock(1, 0, OLD), again, release, last) == (4 * SIZE,) * 2


@pytest.fixture
def while_looking() -> Iterator[list[str]]:
    """The collections that begin during the look at what is alive. One is always due."""
    begun: list[str] = []

    def collects(phase: str, _: object) -> None:
        frame: FrameType | None = sys._getframe(1)
        while phase == "start" and frame is not None:
            if frame.f_code.co_name == "live_storages":
                begun.append(frame.f_code.co_name)
            frame = frame.f_back

    before = gc.get_threshold()
    gc.callbacks.append(collects)
    gc.set_threshold(1, 1_000_000, 1_000_000)
    yield begun
    gc.set_threshold(*before)
    gc.callbacks.remove(collects)


def test_nothing_is_collected_between_looks(while_looking: list[str]) -> None:
    """What one look counts and the next does not find would be missed in one sum only."""
    recording = Recording(torch.device("cpu"), ())
    recording.stop()
    assert gc.isenabled()
    assert while_looking == []
