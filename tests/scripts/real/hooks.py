"""Hooks: features taken in a forward hook, gradients scaled by tensor and module hooks."""

import torch
from blocks import Transformer, batch, loss_of
from real import STEPS, tell, tell_state
from torch import Tensor, nn

model = Transformer()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
features: dict[str, Tensor] = {}
norms: list[Tensor] = []


def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    features["norm"] = output.detach()


def measure(module: nn.Module, grad_input: object, grad_output: tuple[Tensor, ...]) -> None:
    norms.append(grad_output[0].norm())


def clamp(parameter: Tensor) -> None:
    parameter.grad.clamp_(-0.01, 0.01)


model.norm.register_forward_hook(keep)
model.blocks[1].register_full_backward_hook(measure)
model.head.weight.register_hook(lambda gradient: gradient * 0.5)
model.words.weight.register_post_accumulate_grad_hook(clamp)
for step in range(STEPS):
    optimizer.zero_grad()
    loss = loss_of(model, *batch())
    loss.backward()
    optimizer.step()
    tell(step, loss)
    tell(step, features["norm"].square().mean())
    tell(step, norms.pop())
tell_state(model)
