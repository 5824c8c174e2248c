"""`fastsa.profile` and `fastsa.profile_step`, in this process, on models small enough to reckon."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fastsa
from fastsa.cache.store import Store
from fastsa.errors import FastsaError, FastsaWarning
from fastsa.records.profile import Profile
from fastsa.records.timeline import Site

FLOAT = 4
ROWS, WIDTH = 64, 32
HERE = Path(__file__)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.inner(x))  # the line of gelu
        return self.norm(hidden)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


LINE_OF_GELU = next(
    number
    for number, line in enumerate(HERE.read_text().splitlines(), 1)
    if "# the line of gelu" in line
)


class Training:
    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net = Net()
        self.optimizer = torch.optim.Adam(self.net.parameters())
        self.x = torch.randn(ROWS, WIDTH)

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.net(self.x).square().mean().backward()
        self.optimizer.step()


def sites(profile: Profile, category: str) -> list[tuple[int, Site]]:
    timeline = profile.timeline
    found = [(each.bytes, timeline.site(each)) for each in timeline.allocations]
    return [(size, site) for size, site in found if site.category == category]


def alive(profile: Profile) -> int:
    return sum(each.bytes for each in profile.timeline.alive_at(profile.timeline.peak_event))


@pytest.fixture(scope="module")
def profile() -> Profile:
    training = Training()
    training.step()
    with fastsa.profile(training.net) as p:
        training.step()
    return p.profile


def test_it_adds_up_to_the_allocator_s_own_peak(profile: Profile) -> None:
    assert alive(profile) == profile.peak_bytes == profile.allocator_peak_bytes


def test_parameters_and_buffers_have_their_modules(profile: Profile) -> None:
    ours = {site.module: size for size, site in sites(profile, "buffer") if site.module}
    assert set(ours) == {"blocks.0.norm", "blocks.1.norm"}
    weights = [s for s in sites(profile, "parameter") if s[1].module == "blocks.0.inner"]
    assert sorted(size for size, _ in weights) == [WIDTH * FLOAT, WIDTH * WIDTH * FLOAT]
    states = [s for s in sites(profile, "optimizer") if s[1].module == "blocks.0.inner"]
    assert sum(size for size, _ in states) == 2 * sum(size for size, _ in weights) + 2 * FLOAT


def test_gradients_are_those_of_the_backward(profile: Profile) -> None:
    born = [(size, site) for size, site in sites(profile, "gradient") if site.phase == "backward"]
    assert {site.module for _, site in born} == {
        f"blocks.{i}.{name}" for i in range(2) for name in ("inner", "norm")
    }
    assert sum(size for size, _ in born) == 2 * (WIDTH * WIDTH + 3 * WIDTH) * FLOAT


def test_the_input_is_known(profile: Profile) -> None:
    assert [size for size, _ in sites(profile, "input")] == [ROWS * WIDTH * FLOAT]


def test_activations_say_who_keeps_them_and_where_they_come_from(profile: Profile) -> None:
    kept = [site for _, site in sites(profile, "activation")]
    assert all(site.phase == "forward" and site.node for site in kept)
    (before_gelu,) = {s for s in kept if s.op == "aten::addmm" and s.module == "blocks.1.inner"}
    assert before_gelu.node == "GeluBackward0"
    (gelu,) = {s for s in kept if s.op == "aten::gelu" and s.module == "blocks.0"}
    assert gelu.source == f"{HERE}:{LINE_OF_GELU}"


def test_saved_tensors_wait_from_forward_to_backward(profile: Profile) -> None:
    gelus = [saved for saved in profile.saved if saved.node == "GeluBackward0"]
    assert [saved.module for saved in gelus].count("blocks.0") == 1
    waits = {}
    for saved in gelus:
        assert saved.made_seconds is not None
        assert saved.used_seconds is not None
        waits[saved.module] = saved.used_seconds - saved.made_seconds
    assert waits["blocks.0"] > waits["blocks.1"] > 0  # the first forward's backward is the last
    assert {saved.op for saved in gelus} == {"aten::gelu"}
    assert any(saved.parameter for saved in profile.saved)


def test_every_op_has_a_phase_and_a_time(profile: Profile) -> None:
    ops = {(each.op, each.phase): each for each in profile.ops}
    assert ops["aten::gelu", "forward"].calls == 1  # of one module: sites are told apart
    assert ops["aten::gelu_backward", "backward"].module in ("blocks.0", "blocks.1")
    assert ops["aten::mean", "forward"].module is None  # outside of the model, before the backward
    assert any(phase == "optimizer" for _, phase in ops)
    spent = sum(each.seconds for each in profile.ops)
    assert 0 < spent < profile.timeline.seconds
    parts = sum(part.seconds for part in profile.step_parts)
    assert parts == pytest.approx(profile.timeline.seconds)
    nodes = {each.node: each for each in profile.nodes}
    assert nodes["GeluBackward0"].seconds > 0


def test_workspace_is_what_one_op_takes_and_gives_back() -> None:
    x = torch.randn(256, 256)
    with fastsa.profile() as p:
        torch.linalg.svd(x)
    assert sites(p.profile, "workspace")
    assert all(site.op for _, site in sites(p.profile, "workspace"))


def test_what_was_alive_before_is_released() -> None:
    """The CPU allocator does not tell of it."""
    held = [torch.zeros(1000), torch.zeros(500)]
    view = held[1][:10]
    with fastsa.profile() as p:
        held.clear()
        first = torch.zeros(100)
        del view
        second = torch.zeros(100)
    before = [each for each in p.profile.timeline.allocations if each.birth is None]
    died = {each.bytes: each.death for each in before if each.death is not None}
    assert died[4000] is not None
    assert died[2000] is not None
    assert died[4000] < died[2000]
    assert p.peak == p.profile.resident_bytes
    del first, second


def test_an_exception_passes_and_ends_the_recording() -> None:
    with pytest.raises(ZeroDivisionError), fastsa.profile() as p:
        kept = torch.zeros(1000)
        raise ZeroDivisionError("mine")
    assert p.profile.ended == "ZeroDivisionError: mine"
    assert p.profile.missing[0] == "the recording broke off"
    assert alive(p.profile) == p.peak
    del kept


def test_under_torch_s_profiler_there_is_one_warning_and_the_block_runs() -> None:
    with (
        torch.profiler.profile(),
        pytest.warns(FastsaWarning, match="nothing recorded"),
        fastsa.profile() as p,
    ):
        ran = True
    assert ran
    with pytest.raises(FastsaError, match="nothing was recorded"):
        _ = p.peak


def test_torch_s_profiler_inside_gets_its_own() -> None:
    with fastsa.profile() as p:
        torch.zeros(10)
        with torch.profiler.profile() as theirs:
            torch.ones(10)
    assert any(event.key == "aten::ones" for event in theirs.key_averages())
    assert "torch.profiler was started meanwhile" in p.profile.missing[0]


def test_a_step_has_a_graph_to_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch._dynamo.reset()
    training = Training()
    call = nn.Module.__call__
    p = fastsa.profile_step(training.step)
    assert nn.Module.__call__ is call
    assert len(p.profile.regions) == 1
    assert p.profile.missing == ()
    assert alive(p.profile) == p.peak == p.profile.allocator_peak_bytes
    identity = p.save(tmp_path / "store.db")
    with Store.open(tmp_path / "store.db") as store:
        assert store.profile(identity) == p.profile
    p.report()
    assert "Net" in capsys.readouterr().out


def test_a_step_trains_as_it_does_without() -> None:
    torch._dynamo.reset()
    profiled, plain = Training(), Training()
    fastsa.profile_step(profiled.step)
    for _ in range(6):
        plain.step()
    for ours, theirs in zip(profiled.net.parameters(), plain.net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_step_without_a_model() -> None:
    with pytest.raises(FastsaError, match="no module with parameters"):
        fastsa.profile_step(lambda: torch.zeros(1))
