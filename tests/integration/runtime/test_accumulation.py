"""Gradients added into `.grad` inside a planned backward: the bits are those of torch's own way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from support.accumulating import Accumulates, same
from support.compiled import unplanned

STEPS, ROUNDS = 3, 3
LEAVES = 6
SEEDS = range(4)
REGIONS = {seed: Accumulates(seed) for seed in SEEDS}


@pytest.fixture(autouse=True, scope="module")
def shared_graphs() -> Iterator[None]:
    """Each test has a model of its own; what Dynamo compiles for the first serves all of them."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=100, accumulated_recompile_limit=1000):
        yield
    torch._dynamo.reset()


class Net(nn.Module):
    """Six parameters; sums of their gradients are inexact, so that their order shows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(24, 48), nn.Linear(48, 48), nn.Linear(48, 8)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.first(x))
        return self.last(self.drop(F.gelu(self.second(hidden))))


def batch(number: int) -> Tensor:
    return torch.randn(32, 24, generator=torch.Generator().manual_seed(number))


def loss_of(model: nn.Module, number: int) -> Tensor:
    out: Tensor = model(batch(number))
    return out.square().mean()


@dataclass
class Script:
    """What a test does with a model; `seen` is what must be the same, bit for bit."""

    model: Net
    optimizer: torch.optim.Optimizer
    seen: list[Any]

    def see(self) -> None:
        self.seen += [None if p.grad is None else p.grad.clone() for p in self.model.parameters()]
        self.seen += [p.detach().clone() for p in self.model.parameters()]

    def rounds(self, backward: Callable[[int], object], step: int) -> None:
        for number in range(ROUNDS):
            backward(step * ROUNDS + number)
            self.see()


Body = Callable[[Script], None]


def run(body: Body, prepare: Callable[[nn.Module], object]) -> list[Any]:
    torch.manual_seed(0)
    model = Net()
    prepare(model)
    script = Script(model, torch.optim.AdamW(model.parameters(), lr=1e-2), [])
    body(script)
    return script.seen


def both(body: Body, seed: int = 0) -> list[int]:
    """Run a script with torch's own accumulation and with ours; how many were added in each."""
    region = REGIONS[seed]
    region.added.clear()
    wanted = run(body, unplanned)
    found = run(body, region.compile)
    assert same(found, wanted)
    return list(region.added)


def plain(script: Script) -> None:
    for step in range(STEPS):
        script.optimizer.zero_grad()
        script.rounds(lambda number: loss_of(script.model, number).backward(), step)
        script.optimizer.step()


@pytest.mark.promise("accumulation")
@pytest.mark.parametrize("seed", SEEDS)
def test_micro_batches(seed: int) -> None:
    """The first of a step finds no gradients, the others add all of theirs."""
    assert both(plain, seed) == [0, LEAVES, LEAVES] * STEPS


def test_kept_zeros() -> None:
    """`zero_grad(set_to_none=False)` keeps the gradients: all are added from the second step on."""

    def body(script: Script) -> None:
        for step in range(STEPS):
            script.optimizer.zero_grad(set_to_none=False)
            loss_of(script.model, step).backward()
            script.see()
            script.optimizer.step()

    assert both(body) == [0, LEAVES, LEAVES]


def test_the_same_tensor_is_kept_and_its_version_moves() -> None:
    """Who holds `.grad` sees it change, once for each backward, as with torch."""

    def body(script: Script) -> None:
        loss_of(script.model, 0).backward()
        held = [p.grad for p in script.model.parameters()]
        for number in (1, 2):
            loss_of(script.model, number).backward()
            script.seen += [g._version for g in held if g is not None]
        script.seen += [p.grad is g for p, g in zip(script.model.parameters(), held, strict=True)]
        script.see()

    assert both(body) == [0, LEAVES, LEAVES]


def test_losses_that_are_kept() -> None:
    """`total += loss` keeps all earlier graphs; they have no part in this backward."""

    def body(script: Script) -> None:
        total = torch.zeros(())
        for number in range(4):
            loss = loss_of(script.model, number)
            loss.backward()
            total = total + loss
        script.see()

    assert both(body) == [0, LEAVES, LEAVES, LEAVES]


def test_frozen_layers() -> None:
    def body(script: Script) -> None:
        script.model.first.requires_grad_(False)
        plain(script)

    assert both(body) == [0, LEAVES - 2, LEAVES - 2] * STEPS


def test_frozen_between_forward_and_backward() -> None:
    def body(script: Script) -> None:
        loss_of(script.model, 0).backward()
        loss = loss_of(script.model, 1)
        script.model.first.weight.requires_grad_(False)
        loss.backward()
        script.see()

    assert both(body) == [0, LEAVES - 1]


def test_clipping_scaling_and_foreach() -> None:
    def body(script: Script) -> None:
        script.optimizer = torch.optim.SGD(
            script.model.parameters(), lr=0.1, momentum=0.9, foreach=True
        )
        for step in range(STEPS):
            script.optimizer.zero_grad()
            script.rounds(lambda n: (loss_of(script.model, n) * 1024).backward(), step)
            torch._foreach_mul_([p.grad for p in script.model.parameters()], 1 / 1024)
            nn.utils.clip_grad_norm_(script.model.parameters(), 0.1)
            script.see()
            script.optimizer.step()

    assert both(body) == [0, LEAVES, LEAVES] * STEPS


@pytest.mark.promise("accumulation-seen")
def test_two_forwards_before_one_backward() -> None:
    """torch adds the two before it adds them to what is there."""

    def body(script: Script) -> None:
        loss_of(script.model, 0).backward()
        (loss_of(script.model, 1) + loss_of(script.model, 2)).backward()
        script.see()

    assert both(body) == [0, 0, 0]


def test_two_forwards_before_two_backwards() -> None:
    def body(script: Script) -> None:
        loss_of(script.model, 0).backward()
        losses = [loss_of(script.model, n) for n in (1, 2)]
        for loss in losses:
            loss.backward()
        script.see()

    assert both(body) == [0, LEAVES, LEAVES]


def test_the_backward_twice() -> None:
    def body(script: Script) -> None:
        loss_of(script.model, 0).backward()
        loss = loss_of(script.model, 1)
        loss.backward(retain_graph=True)
        loss.backward()
        script.see()

    assert both(body) == [0, LEAVES, LEAVES]


def test_a_penalty_on_the_weights() -> None:
    """Parameters that the loss uses outside of the region get two gradients."""

    def body(script: Script) -> None:
        def backward(number: int) -> None:
            model = script.model
            loss = loss_of(model, number)
            (loss + model.first.weight.square().sum() + model.last.bias.abs().sum()).backward()

        script.rounds(backward, 0)

    assert both(body) == [0, LEAVES - 2, LEAVES - 2]


def test_a_parameter_as_a_root() -> None:
    """`backward([loss, parameter])` gives the parameter a gradient of its own."""

    def body(script: Script) -> None:
        loss_of(script.model, 0).backward()
        loss, bias = loss_of(script.model, 1), script.model.last.bias
        torch.autograd.backward([loss, bias], [torch.ones(()), torch.randn(8)])
        script.see()

    assert both(body) == [0, LEAVES - 1]


@pytest.mark.promise("accumulation-seen")
def test_autograd_grad() -> None:
    """`autograd.grad` touches no `.grad`."""

    def body(script: Script) -> None:
        loss_of(script.model, 0).backward()
        script.seen += torch.autograd.grad(
            loss_of(script.model, 1), list(script.model.parameters())
        )
        script.seen += torch.autograd.grad(loss_of(script.model, 2), [script.model.last.bias])
        script.see()

    assert both(body) == [0, 0, 0]


def test_backward_into_inputs() -> None:
    def body(script: Script) -> None:
        loss_of(script.model, 0).backward()
        loss_of(script.model, 1).backward(inputs=[script.model.first.weight])
        script.see()

    assert both(body) == [0, 0]


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph")
def test_gradients_of_gradients() -> None:
    """torch makes a new `.grad` then, which knows how it came to be."""

    def body(script: Script) -> None:
        loss_of(script.model, 0).backward()
        held = [p.grad for p in script.model.parameters()]
        loss_of(script.model, 1).backward(create_graph=True)
        script.seen += [p.grad is g for p, g in zip(script.model.parameters(), held, strict=True)]
        script.see()

    assert both(body) == [0, 0]


def tensor_hook(script: Script) -> object:
    return script.model.second.weight.register_hook(lambda gradient: gradient * 2)


def several_hook(script: Script) -> object:
    return torch.autograd.graph.register_multi_grad_hook(
        list(script.model.parameters()),
        lambda gradients: script.seen.extend(g.clone() for g in gradients if g is not None),
    )


def node_of(parameter: Tensor) -> Any:
    return torch.autograd.graph.get_gradient_edge(parameter).node


def prehook(script: Script) -> object:
    node = node_of(script.model.second.weight)
    node.register_prehook(lambda gradients: (gradients[0] * 3,))
    return node


def posthook(script: Script) -> object:
    node = node_of(script.model.second.weight)
    node.register_hook(lambda *gradients: script.see())
    return node


def accumulated_hook(script: Script) -> object:
    for parameter in script.model.parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda p: script.seen.append((p.shape, None if p.grad is None else p.grad.sum().item()))
        )
    return None


HOOKS = [tensor_hook, several_hook, prehook, posthook, accumulated_hook]


@pytest.mark.promise("accumulation-seen")
@pytest.mark.parametrize("register", HOOKS)
def test_hooks(register: Callable[[Script], object]) -> None:
    """Whoever asked for gradients gets them: nothing is added behind a hook's back."""

    def body(script: Script) -> None:
        kept = register(script)
        plain(script)
        del kept

    assert both(body) == [0] * STEPS * ROUNDS


def test_a_hook_that_is_gone() -> None:
    def body(script: Script) -> None:
        node = node_of(script.model.second.weight)
        handles = [node.register_prehook(lambda gradients: None)]
        handles.append(script.model.first.weight.register_hook(lambda gradient: None))
        loss_of(script.model, 0).backward()
        loss_of(script.model, 1).backward()
        for handle in handles:
            handle.remove()
        loss_of(script.model, 2).backward()
        script.see()

    assert both(body) == [0, 0, LEAVES]


def test_the_optimizer_in_the_backward() -> None:
    def body(script: Script) -> None:
        optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in script.model.parameters()}
        fired = []

        def step(parameter: Tensor) -> None:
            optimizers[parameter].step()
            optimizers[parameter].zero_grad()
            fired.append(parameter)

        for parameter in script.model.parameters():
            parameter.register_post_accumulate_grad_hook(step)
        for number in range(STEPS):
            loss_of(script.model, number).backward()
            script.see()
            script.seen.append(len(fired))

    assert both(body) == [0] * STEPS


@pytest.mark.promise("accumulation-seen")
def test_anomaly_detection_sees_the_gradients() -> None:
    def body(script: Script) -> None:
        loss_of(script.model, 0).backward()
        script.see()
        with torch.no_grad():
            script.model.first.bias.fill_(float("nan"))
        with torch.autograd.set_detect_anomaly(True), pytest.raises(RuntimeError, match="nan"):
            script.model(batch(1)).sum().backward()

    with pytest.warns(UserWarning, match="Error detected in CompiledFunctionBackward"):
        assert both(body) == [0, 0]


def unusual(change: Callable[[nn.Parameter], None]) -> Body:
    def body(script: Script) -> None:
        loss_of(script.model, 0).backward()
        change(script.model.second.weight)
        loss_of(script.model, 1).backward()
        script.see()

    return body


def of_a_parameter_s_type(parameter: nn.Parameter) -> None:
    parameter.grad = nn.Parameter(torch.ones_like(parameter), requires_grad=False)


def that_requires_grad(parameter: nn.Parameter) -> None:
    parameter.grad = torch.ones_like(parameter).requires_grad_() * 1


def that_is_sparse(parameter: nn.Parameter) -> None:
    parameter.grad = torch.ones_like(parameter).to_sparse()


@pytest.mark.parametrize("change", [of_a_parameter_s_type, that_requires_grad, that_is_sparse])
def test_unusual_gradients(change: Callable[[nn.Parameter], None]) -> None:
    assert both(unusual(change)) == [0, LEAVES - 1]


def test_a_gradient_with_other_strides() -> None:
    def change(parameter: nn.Parameter) -> None:
        parameter.grad = torch.randn(48, 48, generator=torch.Generator().manual_seed(1)).t()

    assert both(unusual(change)) == [0, LEAVES]


def test_a_gradient_that_is_the_parameter() -> None:
    """Adding into it would change what the rest of the backward reads."""

    def change(parameter: nn.Parameter) -> None:
        parameter.grad = parameter.data

    assert both(unusual(change)) == [0, LEAVES - 1]


def test_gradients_that_overlap() -> None:
    def body(script: Script) -> None:
        model = script.model
        buffer = torch.zeros(100)
        model.first.bias.grad, model.second.bias.grad = buffer[:48], buffer[40:88]
        loss_of(model, 0).backward()
        script.see()

    assert both(body) == [0]


def test_gradients_in_one_buffer() -> None:
    def body(script: Script) -> None:
        model = script.model
        buffer = torch.zeros(100)
        model.first.bias.grad, model.second.bias.grad = buffer[:48], buffer[48:96]
        for number in range(2):
            loss_of(model, number).backward()
        script.see()
        script.seen.append(buffer.clone())

    assert both(body) == [2, LEAVES]


def test_one_region_for_two_modules() -> None:
    """Which leaf it is, is found anew in each backward."""
    wanted, found = [], []
    for region, seen in ((None, wanted), (Accumulates(), found)):
        torch.manual_seed(0)
        models = [Net(), Net()]
        for model in models:
            (region.compile if region else unplanned)(model)
        for number in range(4):
            loss_of(models[number % 2], number).backward()
        seen += [p.grad for model in models for p in model.parameters()]
    assert same(found, wanted)


def trained(make: Callable[[], nn.Module], body: Callable[[nn.Module], None]) -> list[int]:
    """Of a model of any make: its gradients under both, and how many were added."""
    region, seen = Accumulates(), []
    for prepare in (unplanned, region.compile):
        torch.manual_seed(0)
        model = make()
        prepare(model)
        body(model)
        seen.append([p.grad for p in model.parameters()])
    assert same(*seen)
    return region.added


class Broken(nn.Module):
    """Two regions; the first layer is used in both."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(24, 24), nn.Linear(24, 24)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.second(torch.tanh(self.first(x))))
        torch._dynamo.graph_break()
        return torch.tanh(self.first(x))


def test_weights_tied_across_regions() -> None:
    def body(model: nn.Module) -> None:
        for number in range(3):
            loss_of(model, number).backward()

    assert trained(Broken, body) == [0, 0, 0, 2, 0, 2]


class Nested(nn.Module):
    """One layer twice, the first time in a backward of its own inside of the backward."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(24, 24), nn.Linear(24, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.layer(torch.tanh(self.layer(x)))))


def test_a_backward_inside_of_a_backward() -> None:
    """torch.utils.checkpoint, the reentrant kind: two graph tasks at once."""

    def body(model: nn.Module) -> None:
        for number in range(3):
            x = batch(number).requires_grad_()
            hidden = checkpoint(lambda x: model(F.pad(x, (0, 0)))[:, :8], x, use_reentrant=True)
            (model(x)[:, :8] * hidden).square().mean().backward()

    assert trained(Nested, body) == [0, 4, 4, 4, 4, 4]


def test_backwards_in_several_threads() -> None:
    """Each finds its own leaves."""

    def train(one: nn.Module) -> None:
        for number in range(20):
            loss_of(one, number).backward()

    region = Accumulates()
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(Nested())
        region.compile(models[-1])
        loss_of(models[-1], 0).backward()  # compiles
    threads = [threading.Thread(target=train, args=(one,)) for one in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(*([p.grad for p in one.parameters()] for one in models))
    assert sorted(region.added) == [0, 0, *[4] * 40]


def test_a_backward_that_fails_leaves_nothing_behind() -> None:
    def body(script: Script) -> None:
        loss_of(script.model, 0).backward()
        loss = loss_of(script.model, 1)
        with torch.no_grad():
            script.model.second.weight.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
        loss_of(script.model, 2).backward()
        script.see()

    assert both(body)[-1] == LEAVES
