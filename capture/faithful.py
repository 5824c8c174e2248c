"""Faithful tracing: what torch's tracer makes of a script computes what the plain script computes.

Left to itself torch traces a backward under its forward's autocast, drops random draws that nobody
reads, and answers `torch.compiler.is_compiling()` with True, which some programs ask.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import fx
from torch._dynamo.exc import unimplemented
from torch._dynamo.output_graph import SubgraphTracer
from torch._dynamo.variables.base import VariableTracker
from torch._dynamo.variables.misc import AutogradFunctionVariable
from torch._dynamo.variables.torch import TorchInGraphFunctionVariable
from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config

from fastsa.capture.joint_graph import is_tangent
from fastsa.instrumentation.program import is_installed

_QUESTIONS = (
    torch.compiler.is_compiling,
    torch.compiler.is_dynamo_compiling,
    torch._utils.is_compiling,
    torch._dynamo.external_utils.is_compiling,
)
_KERNELS_OF_TRACING = {
    torch._C.DispatchKey.Autograd,
    torch._C.DispatchKey.CompositeImplicitAutograd,
}
# Others (recurrent layers among them) have no kernel in one piece, or give the same bits. Dropout
# on a CPU is the exception: eager's form takes several times the memory once it is functional.
_INTERPOLATIONS = (
    "upsample_linear1d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "upsample_trilinear3d",
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d",
    "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
)
_AUTOCAST = {"cpu": torch._C.DispatchKey.AutocastCPU, "cuda": torch._C.DispatchKey.AutocastCUDA}

TRACING_SECONDS = 120.0  # for one function, before its graph is compiled

Boxed = Callable[[list[Any]], Sequence[Any]]


class TracingTooLong(BaseException):
    """The tracer has had its time; no Exception, which it would take for one of its own."""


_autocast_of_backward: tuple[str, ...] = ()  # devices for which it is enabled


@contextmanager
def faithful() -> Iterator[None]:
    """While AOTAutograd traces: the backward outside of autocast, every random draw, eager's ops.

    The autocast that is active when the backward runs is applied then: see `run_backward`.
    """
    with (
        functorch_config.patch(backward_pass_autocast="off"),
        inductor_config.patch(fallback_random=True),
        _whole_ops(),
    ):
        yield


@contextmanager
def _whole_ops() -> Iterator[None]:
    """Without the Python kernels that take an op apart which eager runs in one piece."""
    taken = {op: dict(op.py_kernels) for op in _ops_taken_apart()}
    try:
        for op, kernels in taken.items():
            for key in _KERNELS_OF_TRACING & kernels.keys():
                del op.py_kernels[key]
            op._dispatch_cache.clear()
        yield
    finally:
        for op, kernels in taken.items():
            op.py_kernels.update(kernels)
            op._dispatch_cache.clear()


@cache
def _ops_taken_apart() -> tuple[torch._ops.OpOverload, ...]:
    packets = [getattr(torch.ops.aten, name) for name in _INTERPOLATIONS]
    return tuple(
        op
        for packet in packets
        for op in (getattr(packet, overload) for overload in packet.overloads())
        if _KERNELS_OF_TRACING & op.py_kernels.keys()
    )


def own_draws(
    forward: fx.GraphModule, backward: fx.GraphModule
) -> tuple[fx.GraphModule, fx.GraphModule]:
    """The halves of a joint graph, each without the unread draws that belong to the other.

    torch copies into a half whatever can be computed there, and counts on dead code going.
    """
    for module in (forward, backward):
        module.graph.eliminate_dead_code(_is_of(backward=module is backward))
        module.recompile()
    return forward, backward


def _is_of(*, backward: bool) -> Callable[[fx.Node], bool]:
    def is_impure(node: fx.Node) -> bool:
        tagged = node.meta.get("partitioner_tag") == "is_backward"
        return node.is_impure(impure_random=tagged == backward)

    return is_impure


@contextmanager
def unnoticed(has_run: Callable[[], bool]) -> Iterator[None]:
    """While Dynamo traces: the script's own code is told that nobody compiles.

    Installed packages are told the truth: they ask in order to be traceable. Within a transform of
    torch.func the tracer passes over the backward that an `autograd.Function` has of its own
    (pytorch#193279): there it breaks off, and the transform runs as it is. A loop that it unrolls
    for longer than TRACING_SECONDS ends in TracingTooLong; once a part of the call `has_run`, the
    function with the loop runs as it is.
    """
    handlers = TorchInGraphFunctionVariable._get_handlers()
    asked = {question: handlers[question] for question in _QUESTIONS if question in handlers}
    call_apply = AutogradFunctionVariable.call_apply
    create_proxy = SubgraphTracer.create_proxy
    try:
        handlers.update({question: _asked_by_script(asked[question]) for question in asked})
        AutogradFunctionVariable.call_apply = _outside_of_transforms(call_apply)  # type: ignore[method-assign]
        SubgraphTracer.create_proxy = _in_time(create_proxy, has_run)  # type: ignore[method-assign]
        yield
    finally:
        handlers.update(asked)
        AutogradFunctionVariable.call_apply = call_apply  # type: ignore[method-assign]
        SubgraphTracer.create_proxy = create_proxy  # type: ignore[method-assign]


def _in_time(create_proxy: Any, has_run: Callable[[], bool]) -> Any:
    """Asked for each op: what is planned and measured when a graph is complete does not count."""
    began = WeakKeyDictionary[Any, float]()

    def timed(tracer: Any, *args: Any, **kwargs: Any) -> Any:
        now = time.monotonic()
        is_over = now - began.setdefault(tracer.output_graph.root_tracer, now) > TRACING_SECONDS
        if is_over and has_run():
            unimplemented(
                gb_type="a function whose trace takes too long",
                context="",
                explanation="a part of the call has run, so the call cannot be made again",
                hints=[],
                skip_frame=True,
            )
        if is_over:
            raise TracingTooLong(f"tracing it takes more than {TRACING_SECONDS:g} s")
        return create_proxy(tracer, *args, **kwargs)

    return timed


def _outside_of_transforms(call_apply: Any) -> Any:
    def traced(variable: Any, *args: Any, **kwargs: Any) -> Any:
        if torch._C._functorch.peek_interpreter_stack() is not None:
            unimplemented(
                gb_type="autograd.Function in a transform of torch.func",
                context="",
                explanation="its own backward would be passed over",
                hints=[],
            )
        return call_apply(variable, *args, **kwargs)

    return traced


def _asked_by_script(answer: Any) -> Any:
    def handle(variable: Any, tx: Any, *args: Any, **kwargs: Any) -> VariableTracker:
        if not is_installed(tx.f_code.co_filename):
            told: VariableTracker = VariableTracker.build(tx, False)
            return told
        found: VariableTracker = answer(variable, tx, *args, **kwargs)
        return found

    return handle


@contextmanager
def backward_as_called() -> Iterator[None]:
    """Around a `backward`: its compiled parts see the autocast that is active here.

    The engine's threads see what the caller notes, so one backward at a time is served.
    """
    global _autocast_of_backward
    before = _autocast_of_backward
    _autocast_of_backward = tuple(d for d in _AUTOCAST if torch.is_autocast_enabled(d))
    try:
        yield
    finally:
        _autocast_of_backward = before


def run_backward(module: fx.GraphModule, run: Boxed, arguments: list[Any]) -> Sequence[Any]:
    """Run a compiled backward, `run`, made of `module`.

    AOTAutograd excludes autocast's keys while its graphs run. Where autocast is active around the
    `backward`, each op of the backward gets from the dispatcher what eager's gets; a recomputed op
    of the forward has its casts in the graph.
    """
    if not _autocast_of_backward:
        return run(arguments)
    found: Sequence[Any] = _UnderAutocast(module, _autocast_of_backward).boxed_run(arguments)
    return found


class _UnderAutocast(fx.Interpreter):
    """Runs what depends on the tangents under autocast, and all else without."""

    def __init__(self, module: fx.GraphModule, devices: Sequence[str]) -> None:
        super().__init__(module)
        self._devices = devices
        self._of_backward = set(filter(is_tangent, module.graph.nodes))

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        if self._of_backward.isdisjoint(n.all_input_nodes):
            return super().run_node(n)
        self._of_backward.add(n)
        excluded = torch._C._dispatch_tls_local_exclude_set()
        for device in self._devices:
            excluded = excluded.remove(_AUTOCAST[device])
        included = torch._C._dispatch_tls_local_include_set()
        with torch._C._ForceDispatchKeyGuard(included, excluded):
            return super().run_node(n)
