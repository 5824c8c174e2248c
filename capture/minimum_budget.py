"""Minimum budget: the smallest that fits a model's step, worked out without running the model.

The model is traced on fake tensors as far as its joint graph and no further. Predicted: sizes are
those of the tracer, workspace of ops is not in it, and the planner's search has a time limit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch._dynamo import eval_frame, pgo
from torch._dynamo.exc import TorchDynamoException
from torch.utils import _pytree as pytree

from fastsa.capture.data_parallel import computed
from fastsa.capture.generators import state_bytes
from fastsa.capture.in_place import is_compiled, traceable
from fastsa.capture.joint_graph import capture
from fastsa.capture.region import (
    Modules,
    Region,
    compile_region,
    first_line,
)
from fastsa.errors import CaptureFailed, reason
from fastsa.instrumentation.allocators.events import rounded
from fastsa.planner.budget import format_bytes
from fastsa.planner.graph import INT64_MAX, Graph
from fastsa.planner.solve import plan

SEARCH_SECONDS = 1.0
_CACHING = 20 * 2**20  # CUDA's caching allocator asks for as much where a block is smaller

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)


@dataclass(frozen=True)
class MinimumBudget:
    """`bytes` of the whole process (predicted), or None and in `missing` the reason."""

    bytes: int | None
    missing: str | None = None


@dataclass(frozen=True)
class TensorShape:
    """A tensor without its contents."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    requires_grad: bool

    def empty(self) -> torch.Tensor:
        """A tensor like it, of whatever is in memory."""
        made = torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device)
        return made.requires_grad_(self.requires_grad)

    @property
    def bytes(self) -> int:
        """Bytes of its storage."""
        if 0 in self.shape:
            return 0
        last = sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        return rounded((last + 1) * self.dtype.itemsize, self.device)


@dataclass(frozen=True)
class ModelCall:
    """How a module was called, without the tensors: keeping it costs nothing.

    `unknown` names the types of arguments that could not be noted so.
    """

    leaves: tuple[Any, ...]
    tree: pytree.TreeSpec
    unknown: tuple[str, ...]
    autocast: tuple[tuple[str, torch.dtype], ...]

    @classmethod
    def of(cls, args: Sequence[Any], kwargs: Mapping[str, Any]) -> ModelCall:
        """Note a call that is being made now."""
        found, tree = pytree.tree_flatten((tuple(args), dict(kwargs)))
        leaves = tuple(_noted(leaf) for leaf in found)
        unknown = tuple(leaf.__name__ for leaf in leaves if isinstance(leaf, type))
        kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
        autocast = tuple((kind, torch.get_autocast_dtype(kind)) for kind in kinds)
        return cls(leaves, tree, unknown, autocast)

    @property
    def bytes(self) -> int:
        """Bytes of its tensors."""
        return sum(leaf.bytes for leaf in self.leaves if isinstance(leaf, TensorShape))

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments to call with again."""
        made = [x.empty() if isinstance(x, TensorShape) else x for x in self.leaves]
        args, kwargs = pytree.tree_unflatten(made, self.tree)
        return args, kwargs

    def contexts(self) -> list[AbstractContextManager[object]]:
        """What to call in: gradients enabled, and autocast as it was."""
        casts = [torch.autocast(kind, dtype=dtype) for kind, dtype in self.autocast]
        return [torch.enable_grad(), *casts]


def minimum_budget(
    module: nn.Module, call: ModelCall, resident_bytes: int, requested_bytes: int | None = None
) -> MinimumBudget:
    """The smallest budget under which a step of `module`, called like `call`, would have fitted.

    `resident_bytes`: of the whole process when the forward begins; `requested_bytes`: what the
    failing allocation asked for, if that is known. Nothing of the model runs, and
    the model, random generators and the tracer's caches stay as they are. To be called when no
    patch on modules is left (hooks.RootCalls): the tracer would see it.
    """
    if call.unknown:
        return _not(f"it was called with a {call.unknown[0]}")
    if is_compiled(module):
        return _not("the script compiles its model itself")
    try:
        device = next(module.parameters()).device
        return smallest([(resident_bytes, _captured(module, call))], device, requested_bytes)
    except TorchDynamoException as error:
        return _not(f"the model cannot be captured: {first_line(error)}")
    except Exception as error:  # noqa: BLE001  the script has its own error to tell
        return _not(f"the model cannot be captured: {reason(error)}".partition("\n")[0])


def smallest(
    regions: Sequence[tuple[int, Graph]], device: torch.device, requested_bytes: int | None = None
) -> MinimumBudget:
    """The same for captured graphs, each with the resident bytes beside it."""
    largest = max((value.bytes for _, graph in regions for value in graph.values), default=0)
    # CUDA's message has three digits.
    if requested_bytes is not None and requested_bytes > 1.01 * largest + _CACHING:
        return _not(f"what was asked for, {format_bytes(requested_bytes)}, is no part of the model")
    return MinimumBudget(
        max(resident + _smallest_peak(graph, device) for resident, graph in regions)
    )


def _smallest_peak(graph: Graph, device: torch.device) -> int:
    """The lowest peak of a plan found for a graph, in bytes of the step alone."""
    floor = plan(graph, INT64_MAX, time_limit=0.0, iterations=0).minimum_budget_bytes
    lowest = plan(graph, floor, time_limit=SEARCH_SECONDS)
    return lowest.peak_bytes + state_bytes(graph, lowest.sequence, device)


def _not(why: str) -> MinimumBudget:
    return MinimumBudget(None, f"the smallest budget that fits is not known: {why}")


def _noted(leaf: Any) -> Any:
    """A plain value as it is, a tensor's shape, or the type of anything else."""
    if isinstance(leaf, _PLAIN):
        return leaf
    if type(leaf) is torch.Tensor and leaf.layout is torch.strided:
        shape, stride = tuple(leaf.shape), leaf.stride()
        return TensorShape(shape, stride, leaf.dtype, leaf.device, leaf.requires_grad)
    return type(leaf)


class _Stop(BaseException):
    """Ends the tracing; as no Exception, it is not taken for a failure of the compiler."""


class _OnlyCapture(Region):
    def __init__(self) -> None:
        self.graph: Graph | None = None
        self.failure: CaptureFailed | None = None

    def partition(self, joint: fx.GraphModule, num_fwd_outputs: int) -> Modules:
        try:
            self.graph = capture(joint, num_fwd_outputs, name="model", device_name="").graph
        except CaptureFailed as error:
            self.failure = error
        raise _Stop

    def backend(self, gm: fx.GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        compile_region(self, gm, example_inputs)
        raise _Stop  # nothing needs a gradient; the graph must not run all the same


def _captured(module: nn.Module, call: ModelCall) -> Graph:
    region = _OnlyCapture()
    args, kwargs = call.arguments()
    with ExitStack() as stack:
        for context in (_tracer_forgets(), suppress(_Stop), *call.contexts()):
            stack.enter_context(context)
        call_module = traceable(computed(module))
        torch.compile(call_module, backend=region.backend, fullgraph=True, dynamic=False)(
            *args, **kwargs
        )
    if region.failure is not None:
        raise region.failure
    if region.graph is None:
        raise CaptureFailed("no gradient is taken through it", hint="train it")
    return region.graph


@contextmanager
def _tracer_forgets() -> Iterator[None]:
    # The tracer keeps every backend it has met, and the sizes it has seen: it would make those
    # symbolic that are others the next time.
    backends, sizes = set(eval_frame.cached_backends), pgo.get_code_state()
    before = copy.deepcopy(dict(sizes))
    try:
        yield
    finally:
        sizes.clear()
        sizes.update(before)
        for key in set(eval_frame.cached_backends) - backends:
            del eval_frame.cached_backends[key]
