"""Does something while it trains that a profiler could disturb: `hostile.py WHAT`."""

import gc
import os
import sys
import weakref
from typing import Any

import torch
from tiny import STEPS, Net, adam, batch, tell
from torch import Tensor, nn

what = sys.argv[1]


class Strict(Net):
    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_compiled"):
            raise AttributeError(f"frozen: {name}")
        super().__setattr__(name, value)


class Grouped(Net):
    def parameters(self, recurse: bool = True) -> Any:
        return [{"params": list(super().parameters(recurse))}]


class Subclass(Tensor):
    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        global seen
        seen += 1
        return super().__torch_function__(function, types, args, kwargs or {})


class Mode(torch.overrides.TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        global seen
        seen += 1
        return function(*args, **(kwargs or {}))


def patch() -> None:
    call, backward = nn.Module.__call__, torch.autograd.backward

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        global seen
        seen += 1
        return call(self, *args, **kwargs)

    def again(*args: Any, **kwargs: Any) -> Any:
        global seen
        seen += 1000
        return backward(*args, **kwargs)

    nn.Module.__call__ = counted
    torch.autograd.backward = again


seen = 0
kinds = {"strict": Strict, "grouped": Grouped}
net: Any = kinds.get(what, Net)()
parameters = list(nn.Module.parameters(net))
optimizer = torch.optim.Adam(parameters, lr=1e-3)
if what == "script":
    net = torch.jit.script(net)
if what == "setprofile":

    def note(frame: Any, event: str, argument: Any) -> None:
        global seen
        seen += frame.f_code is Net.forward.__code__ and event == "call"

    sys.setprofile(note)
if what == "patches":
    patch()
gone = weakref.ref(net) if what == "deletes" else None
for number in range(STEPS):
    if what == "deletes" and number == 9:
        del net, optimizer, parameters
        gc.collect()
        print("gone:", gone() is None)
        net = Net()
        optimizer = adam(net)
    x = batch()
    if what == "subclass":
        x = x.as_subclass(Subclass)
    if what == "nested":
        x = torch.nested.nested_tensor([x[:500], x[500:]]).to_padded_tensor(0.0)
    with Mode() if what == "mode" else torch.enable_grad():
        out = net(x)
    loss = out.square().mean()
    optimizer.zero_grad()
    if what == "generator":
        torch.autograd.backward(each for each in [loss])
    elif what == "penalty":
        loss.backward(create_graph=True)
        loss = sum(p.grad.square().sum() for p in net.parameters())
        loss.backward()
    else:
        loss.backward()
    optimizer.step()
    tell(number, loss.detach().as_subclass(Tensor))
sys.setprofile(None)
if what != "mode":  # torch's own profiler looks at the parameters of modules through it
    print("seen", seen)
if what == "forks":
    child = os.fork()
    if not child:
        print("child", flush=True)
        sys.exit(3)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
