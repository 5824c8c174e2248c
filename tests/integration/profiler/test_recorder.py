"""The recorder on a training loop in this process: timeline, steps, hooks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fastsa.instrumentation.allocators.cpu import CpuAllocator
from fastsa.instrumentation.allocators.events import net, peak_delta
from fastsa.instrumentation.script import StopScript
from fastsa.instrumentation.step_clock import StepClock
from fastsa.profiler.recorder import Recorder
from fastsa.profiler.recording import COMPILES
from fastsa.profiler.stages import Stage
from fastsa.records.profile import Profile
from support.models import CASES
from support.random_plans import peak


def loop(name: str, steps: int, accumulate: int = 1) -> None:
    """A plain training loop."""
    torch.manual_seed(0)
    model = CASES[name].make()
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        for _ in range(accumulate):
            CASES[name].loss(model).backward()
        optimizer.step()


@pytest.fixture(scope="module", params=[pytest.param("gpt", marks=pytest.mark.nightly), "resnet"])
def profile(request: pytest.FixtureRequest) -> Profile:
    torch._dynamo.reset()
    recorder = Recorder("loop.py", ["--x"])
    with pytest.raises(StopScript), recorder:
        loop(request.param, 20)
    assert recorder.problems == []
    found = recorder.profile()
    assert found is not None
    return found


def test_the_timeline_adds_up_to_the_byte(profile: Profile) -> None:
    timeline = profile.timeline
    at = timeline.peak_event
    alive = sum(
        a.bytes
        for a in timeline.allocations
        if (a.birth is None or a.birth <= at) and (a.death is None or a.death > at)
    )
    assert alive == timeline.peak_bytes == profile.peak_bytes
    before = sum(a.bytes for a in timeline.allocations if a.birth is None)
    assert before == timeline.resident_bytes == profile.resident_bytes


def test_categories(profile: Profile) -> None:
    size = dict.fromkeys(("parameter", "optimizer", "gradient", "activation"), 0)
    for a in profile.timeline.allocations:
        category = profile.timeline.site(a).category
        if category in size:
            size[category] += a.bytes
    assert size["parameter"] >= 4 * profile.parameters  # and those of other tests still around
    assert size["optimizer"] >= 8 * profile.parameters
    assert size["gradient"] >= 4 * profile.parameters
    assert size["activation"] > 0


def test_the_model_s_peak_is_the_graph_s(profile: Profile) -> None:
    """Resident bytes and the graph's peak are within a few percent of the plain step's peak.

    Not equal: torch's tracer leaves out what eager autograd keeps for nothing.
    """
    (region,) = profile.regions
    modelled = profile.resident_bytes + peak(region.graph, [op.id for op in region.graph.ops])
    assert 0.6 < modelled / profile.peak_bytes < 1.05


def test_what_autograd_saved(profile: Profile) -> None:
    assert profile.saved[0].bytes >= profile.saved[-1].bytes
    assert any(saved.parameter for saved in profile.saved)


def test_hooks_are_gone() -> None:
    call, backward = nn.Module.__call__, torch.autograd.backward
    torch._dynamo.reset()
    recorder = Recorder("loop.py", [], keep_running=True)
    with recorder:
        assert nn.Module.__call__ is not call
        loop("buffer", Stage.DONE + 2)
    assert nn.Module.__call__ is call
    assert torch.autograd.backward is backward
    assert recorder.profile() is not None


def test_an_error_of_the_script_passes_and_leaves_nothing() -> None:
    call = nn.Module.__call__
    recorder = Recorder("loop.py", [])
    with pytest.raises(ZeroDivisionError), recorder:
        loop("buffer", 4)
        raise ZeroDivisionError
    assert nn.Module.__call__ is call
    profile = recorder.profile()
    assert profile is not None
    assert profile.ended == "ZeroDivisionError"
    assert not torch._C._autograd._profiler_enabled()


def test_too_few_steps() -> None:
    recorder = Recorder("loop.py", [])
    with recorder:
        loop("buffer", 3)
    profile = recorder.profile()
    assert profile is not None
    assert "in its training step 3, and 5 are needed" in profile.missing[1]


def test_accumulated_micro_batches_are_one_step() -> None:
    steps: list[int] = []
    clock = StepClock(steps.append)
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters())
    for _ in range(3):
        for _ in range(4):
            clock.forward()
        optimizer.step()
    clock.close()
    optimizer.step()
    clock.forward()
    assert steps == [0, 1, 2, 3]


def test_cpu_allocator_sees_every_byte() -> None:
    with CpuAllocator() as allocator:
        with allocator.span("inside"):
            kept = torch.zeros(1000)
            dropped = torch.zeros(500)
            del dropped
        del kept
    inside = allocator.events[slice(*allocator.spans["inside"])]
    assert [event.bytes for event in inside] == [4000, 2000, -2000]
    assert (peak_delta(allocator.events), net(allocator.events)) == (6000, 0)


def test_the_first_step_of_a_compiled_model_has_no_lines() -> None:
    """To record the Python calls of torch's tracer would take longer than to compile."""
    torch._dynamo.reset()
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model[0].compile(backend="eager")
    recorder = Recorder("loop.py", [])
    with recorder:
        model(torch.ones(2, 4)).sum().backward()
    found = recorder.profile()
    assert found is not None
    assert COMPILES in found.missing
    assert found.timeline.peak_bytes > 0
