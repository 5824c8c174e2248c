"""Op timing: seconds, workspace and real storage sizes of every op, measured one by one.

Each distinct call (target, shapes, strides, dtypes) is run alone on made-up inputs, so a model that
does not fit in memory can be measured too, and equal layers get equal numbers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import msgspec
import torch
from torch import fx
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from fastsa.capture.joint_graph import (
    Capture,
    hint,
    is_collective,
    mutated_arguments,
    storage_bytes,
    storage_key,
    tensors,
)
from fastsa.instrumentation.allocators.cpu import CpuAllocator
from fastsa.instrumentation.allocators.events import peak_delta, rounded
from fastsa.planner.graph import Graph

REPEATS = 5
SECONDS_PER_CALL = 0.5  # a call slower than this is not repeated further


T = TypeVar("T")


@dataclass(frozen=True)
class Measurement:
    """One call: `seconds`, `workspace_bytes` beyond inputs and outputs, bytes of each output."""

    seconds: float
    workspace_bytes: int
    output_bytes: tuple[int, ...]


def measure(capture: Capture) -> Graph:
    """The captured graph with measured seconds, workspace and storage sizes.

    A call that cannot be run alone keeps its captured sizes and gets the time of a copy of its
    bytes; `device["unmeasured"]` counts them. Random generators are left as they were.
    """
    measure_calls = _measure_on_cuda if capture.device.type == "cuda" else _measure_on_cpu
    keys = [signature(node) if node is not None else None for node in capture.nodes]
    # A collective that one rank issues alone would wait for the others, or meet another of theirs.
    calls = {
        k: n
        for k, n in zip(keys, capture.nodes, strict=True)
        if k is not None and n and not is_collective(n)
    }
    devices = [capture.device] if capture.device.type == "cuda" else []
    # Capture happens inside a compilation, where fake tensor modes would make every op fake.
    with _disable_current_modes(), torch.random.fork_rng(devices=devices), torch.no_grad():
        found = measure_calls(calls)
    return _apply(capture, keys, found)


def _apply(capture: Capture, keys: list[str | None], found: dict[str, Measurement]) -> Graph:
    replace = msgspec.structs.replace
    graph = capture.graph
    sizes = [value.bytes for value in graph.values]
    ops = list(graph.ops)
    for i, (key, node) in enumerate(zip(keys, capture.nodes, strict=True)):
        if key is None or node is None:
            continue
        if key not in found:
            ops[i] = replace(ops[i], seconds=_copy_seconds(node))
            continue
        call = found[key]
        ops[i] = replace(ops[i], seconds=call.seconds, workspace_bytes=call.workspace_bytes)
        created = [value for value in ops[i].outputs if sizes[value]]
        for value, size in zip(created, call.output_bytes, strict=False):
            sizes[value] = rounded(size, capture.device)
    unmeasured = len({key for key in keys if key is not None}) - len(found)
    return replace(
        graph,
        ops=tuple(ops),
        values=tuple(
            replace(value, bytes=size) for value, size in zip(graph.values, sizes, strict=True)
        ),
        device={**(graph.device or {}), "type": "measured", "unmeasured": unmeasured},
    )


def signature(node: fx.Node) -> str:
    """Equal for calls that do the same work."""

    def describe(leaf: object) -> str:
        if not isinstance(leaf, fx.Node):
            return repr(leaf)
        value = leaf.meta.get("val")
        if isinstance(value, torch.Tensor):
            return f"{value.dtype}{tuple(value.shape)}{value.stride()}{value.device}"
        return repr(value)

    leaves, spec = pytree.tree_flatten((node.args, node.kwargs))
    return f"{node.target} {spec} " + " ".join(describe(leaf) for leaf in leaves)


def _copy_seconds(node: fx.Node) -> float:
    moved = sum(storage_bytes(t) for t in tensors(node))
    moved += sum(storage_bytes(t) for a in node.all_input_nodes for t in tensors(a))
    return 1e-6 + moved / 20e9


Call = Callable[[], Any]


def _prepare(node: fx.Node) -> tuple[Call, set[int]]:
    """A node's call on made-up inputs, and the storages of those inputs."""
    args, kwargs = _make_arguments(node)
    target: Callable[..., Any] = node.target  # type: ignore[assignment]
    inputs = {storage_key(t) for t in pytree.tree_leaves((args, kwargs)) if torch.is_tensor(t)}
    return lambda: target(*args, **kwargs), inputs


def _tried(step: Callable[[], T]) -> T | None:
    # Made-up inputs do not suit every op (data-dependent ones, collectives).
    try:
        return step()
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError):
        return None


def _measure_on_cpu(calls: dict[str, fx.Node]) -> dict[str, Measurement]:
    created: dict[str, tuple[int, ...]] = {}
    seconds: dict[str, float] = {}
    names = {key: f"call {i}" for i, key in enumerate(calls)}

    def allocate(key: str) -> tuple[int, ...]:
        call, inputs = _prepare(calls[key])
        with allocator.span(names[key]):
            result = call()
        return _new_storages(result, inputs)

    def time_call(key: str) -> float:
        call, _ = _prepare(calls[key])
        return statistics.median(_cpu_seconds(call))

    with CpuAllocator() as allocator:
        for key in calls:
            sizes = _tried(partial(allocate, key))
            if sizes is not None:
                created[key] = sizes
    for key in created:
        elapsed = _tried(partial(time_call, key))
        if elapsed is not None:
            seconds[key] = elapsed
    return {
        key: Measurement(
            seconds[key],
            max(
                0,
                peak_delta(allocator.events[slice(*allocator.spans[names[key]])])
                - sum(created[key]),
            ),
            created[key],
        )
        for key in seconds
    }


def _cpu_seconds(call: Call) -> Iterator[float]:
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        elapsed = time.perf_counter() - start
        yield elapsed
        if elapsed > SECONDS_PER_CALL:
            return


def _measure_on_cuda(calls: dict[str, fx.Node]) -> dict[str, Measurement]:
    found: dict[str, Measurement] = {}
    for key, node in calls.items():
        measured = _tried(partial(_measure_cuda_call, node))
        if measured is not None:
            found[key] = measured
    return found


def _measure_cuda_call(node: fx.Node) -> Measurement:
    call, inputs = _prepare(node)
    call()  # the first call loads kernels and picks algorithms
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    result = call()
    peak = torch.cuda.max_memory_allocated() - before
    sizes = _new_storages(result, inputs)
    del result
    held = sum(rounded(size, torch.device("cuda")) for size in sizes)
    return Measurement(statistics.median(_cuda_seconds(call)), max(0, peak - held), sizes)


def _cuda_seconds(call: Call) -> Iterator[float]:
    for _ in range(REPEATS):
        start = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        yield start.elapsed_time(end) / 1000


def _make_arguments(node: fx.Node) -> tuple[Any, Any]:
    made: dict[int, torch.Tensor] = {}
    writes = set(mutated_arguments(node))

    def make(leaf: object) -> object:
        if not isinstance(leaf, fx.Node):
            return leaf
        value = leaf.meta["val"]
        if isinstance(value, torch.Tensor):
            return _real(value, made, fresh=leaf in writes)
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            return value.node.hint
        return value

    args, kwargs = pytree.tree_map(make, (node.args, node.kwargs))
    return args, kwargs


def _real(fake: torch.Tensor, made: dict[int, torch.Tensor], *, fresh: bool) -> torch.Tensor:
    """A real tensor like a fake one; tensors of one storage stay tensors of one storage."""
    key = storage_key(fake)
    if key not in made or fresh:
        elements = max(1, storage_bytes(fake) // fake.element_size())
        base = torch.zeros(elements, dtype=fake.dtype, device=fake.device)
        if fake.dtype.is_floating_point:
            base.uniform_(0.1, 1.0)  # denormal garbage would make CPU kernels slow
        made[key] = base
    size = [hint(s) for s in fake.shape]
    stride = [hint(s) for s in fake.stride()]
    base = made[key]
    if base.dtype != fake.dtype:
        base = base.view(fake.dtype)
    return base.as_strided(size, stride, hint(fake.storage_offset()))


def _new_storages(result: Any, inputs: set[int]) -> tuple[int, ...]:
    sizes: dict[int, int] = {}
    for leaf in pytree.tree_leaves(result):
        if torch.is_tensor(leaf) and storage_key(leaf) not in inputs:
            sizes[storage_key(leaf)] = storage_bytes(leaf)
    return tuple(sizes.values())
