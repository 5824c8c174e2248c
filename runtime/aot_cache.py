"""AOT cache: a planned region comes out of torch's own cache, so a second start does not trace.

torch keys its cache by the program and knows nothing of plans, and it looks the key up before a
plan can be known from the traced graph. So the plan is decided first, from the hash the same
program was captured under before (cache/compile_cache_index.py), and a token of that plan is made
part of the key. What comes back says which plan and captured graph it was made for, and is refused
otherwise.

All that this needs of torch's insides is in this file: `AOTAutogradCache` through the settings
`force_autograd_cache` and `bundled_autograd_cache`, `OutputCode`, `GraphPickler`. Whatever fails
here leaves the region to be traced as if this file were not there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import operator
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx
from torch._functorch import config as functorch_config
from torch._functorch._aot_autograd.autograd_cache import BypassAOTAutogradCache
from torch._inductor.output_code import OutputCode
from torch._prims.rng_prims import run_and_save_rng_state, run_with_rng_state
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.fx._graph_pickler import GraphPickler, Options
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from fastsa.capture.faithful import Boxed
from fastsa.capture.region import Part, Region, code
from fastsa.capture.tangents import tangent
from fastsa.runtime.accumulate import accumulate
from fastsa.version import __version__

_OURS = {"fastsa.accumulate": accumulate, "fastsa.tangent": tangent}
"""Calls of ours in a graph, by the name they have in the cache: torch writes only its own down."""

_REPEATABLE = frozenset(
    {run_and_save_rng_state, run_with_rng_state, operator.getitem, *_OURS.values()}
)
"""Calls other than ops that mean the same in another process."""


@dataclasses.dataclass(frozen=True)
class Made:
    """What a compiled region was made for: an order, by its digest, of a captured graph."""

    order: str
    captured: str
    fastsa: str = __version__


class Uncacheable(BypassAOTAutogradCache):
    """Why a compiled graph is not kept, or not taken."""


class Lookup:
    """One region's compilation: what may come out of the cache, and what did.

    `expected` is None if no plan is known yet: then nothing is found, and what is made is kept
    under a new token.
    """

    def __init__(self, region: Region, expected: Made | None, token: str | None) -> None:
        self.region = region
        self.expected = expected
        self.token = token or uuid.uuid4().hex
        self.made: Made | None = None  # once the region has been partitioned under a plan
        self.traced = False
        self.device = torch.device("cpu")
        self.loaded: set[Part] = set()

    def planned(self, order: str | None, captured: str, device: torch.device) -> None:
        """The region has been traced and runs in an order; None for one that is not stored."""
        self.device = device
        self.made = Made(order, captured) if order is not None else None

    @property
    def hit(self) -> bool:
        """Whether forward and backward came out of the cache."""
        return not self.traced and self.loaded == {"forward", "backward"}

    def code(self, region: Region, module: fx.GraphModule, part: Part) -> Boxed:
        """A graph as a function that torch can keep."""
        return CachedCode(module, part, self.made, code(region, module, part))


_ASK_AND_FILL = {
    "force_autograd_cache": True,
    "bundled_autograd_cache": True,
    # The backward is compiled with the forward: later, nobody would keep it.
    "force_non_lazy_backward_lowering": True,
}

_current: Lookup | None = None


@contextmanager
def looking(lookup: Lookup) -> Iterator[None]:
    """Within it torch's cache is asked first and filled, under the lookup's token."""
    global _current
    before = _current
    _current = lookup
    tag = f"{torch.compiler.config.cache_key_tag}fastsa {__version__} {lookup.token}"
    try:
        with (
            functorch_config.patch(_ASK_AND_FILL),
            torch.compiler.config.patch(cache_key_tag=tag),  # type: ignore[attr-defined]
        ):
            yield
    finally:
        _current = before


@dataclasses.dataclass
class CachedCode(OutputCode):
    """A compiled graph that torch's cache can hold. Called like the function it holds."""

    module: fx.GraphModule | None
    part: Part
    made: Made | None
    run: Callable[[list[Any]], Sequence[Any]] | None
    graph: bytes | None = None

    _boxed_call: bool = True  # read by AOTAutograd, also through wrappers, which copy attributes

    def __call__(self, inputs: Any) -> Any:
        """Run it; `inputs` is emptied."""
        return self.run(inputs)  # type: ignore[misc]  # None only in the cache

    def prepare_for_serialization(self) -> None:
        """Called on a copy, which goes into the cache. Raises Uncacheable."""
        if self.made is None:
            raise Uncacheable("it has no plan")
        assert self.module is not None
        check(self.module)
        options = Options(ops_filter=None, node_metadata_key_filter=lambda key: False)
        try:
            self.graph = GraphPickler.dumps(_writable(self.module), options)
        except Exception as error:
            raise Uncacheable(f"torch cannot write it down: {error}") from error
        self.module = self.run = None

    def post_compile(self, *ignored: Any, **options: Any) -> None:
        """Called on what comes out of the cache. What it raises makes torch compile instead."""
        if self.graph is None:
            return
        if _current is None or _current.expected is None or self.made != _current.expected:
            raise Uncacheable("it was made for another plan")
        module = GraphPickler.loads(self.graph, FakeTensorMode(shape_env=ShapeEnv()))
        assert isinstance(module, fx.GraphModule)
        _restore_ours(module)
        self.graph = None
        self.run = code(_current.region, module, self.part)
        _current.loaded.add(self.part)

    def set_triton_bundle(self, triton_bundle: Any) -> None:
        """There are no kernels of its own."""


def _writable(module: fx.GraphModule) -> fx.GraphModule:
    """A copy in which calls of ours are `operator.call(name, ...)`."""
    names = {function: name for name, function in _OURS.items()}
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    for node in graph.nodes:
        if node.target in names:
            node.args = (names[node.target], *node.args)
            node.target = operator.call
    return fx.GraphModule(module, graph)


def _restore_ours(module: fx.GraphModule) -> None:
    for node in module.graph.nodes:
        if node.target is operator.call:
            name, *arguments = node.args
            node.target, node.args = _OURS[name], tuple(arguments)


def check(module: fx.GraphModule) -> None:
    """Raise Uncacheable if a graph holds what may mean something else in another process."""
    for node in module.graph.nodes:
        if node.op not in ("placeholder", "call_function", "output"):
            raise Uncacheable(f"{node.op} {node.target} belongs to this process")
        target = node.target
        if node.op != "call_function" or isinstance(target, torch._ops.OpOverload):
            continue
        home = getattr(target, "__module__", None)
        if target not in _REPEATABLE and home not in (
            operator.__name__,
            math.__name__,
            "_operator",
        ):
            raise Uncacheable(f"{target} belongs to this process")


def program_key(gm: fx.GraphModule, inputs: Sequence[Any]) -> str | None:
    """sha256 (hex) of a Dynamo graph and its inputs' metadata; None if they are not plain.

    It finds a record of earlier starts; whether the program is the same is for torch's key to say.
    """
    described = []
    for tensor in inputs:
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter, FakeTensor):
            return None
        if any(isinstance(size, torch.SymInt) for size in (*tensor.shape, *tensor.stride())):
            return None
        described.append(
            f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()} {tensor.device} "
            f"{tensor.requires_grad}"
        )
    text = "\n".join((__version__, gm.print_readable(print_output=False), *described))
    return hashlib.sha256(text.encode()).hexdigest()


def usable() -> bool:
    """Whether the cache may be asked at all."""
    # Of several ranks one could hit and another trace and wait for it.
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return (
        torch.is_grad_enabled()
        and not distributed
        and not torch.compiler.config.force_disable_caches
        and bool(functorch_config.enable_autograd_cache)
    )
