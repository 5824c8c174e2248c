"""Assembly: a profile from what was recorded and of what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from fastsa.capture.data_parallel import computed
from fastsa.capture.region import first_line
from fastsa.instrumentation.device import device_name, versions
from fastsa.planner.graph import Graph
from fastsa.profiler.recorded import Recorded
from fastsa.records.profile import (
    DeviceUse,
    Fragmentation,
    MeasuredRegion,
    OpTime,
    Profile,
    StepPart,
)
from fastsa.records.timeline import PHASES


def assemble(
    found: Recorded,
    roots: Iterable[nn.Module],
    device: torch.device,
    *,
    script: str,
    arguments: Sequence[str] = (),
    shape: str = "",
    step_seconds: float | None = None,
    regions: tuple[MeasuredRegion, ...] = (),
    step: Graph | None = None,
    missing: Sequence[str] = (),
    ended: str | None = None,
    device_use: DeviceUse | None = None,
    fragmentation: Fragmentation | None = None,
) -> Profile:
    """The profile of a recorded stretch of a program that trains `roots`.

    `missing` are sentences on what could not be had, beside what the recording itself misses.
    """
    modules = list(roots)
    known = {id(p): p for module in modules for p in nn.Module.parameters(module)}
    parameters = {one: p.numel() for one, p in known.items() if not is_lazy(p)}
    return Profile(
        schema="fastsa.profile/2",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        script=script,
        arguments=tuple(arguments),
        model=model_name(modules),
        parameters=sum(parameters.values()),
        shape=shape,
        device=device_name(device),
        versions=versions(),
        resident_bytes=found.resident_bytes,
        peak_bytes=found.timeline.peak_bytes,
        step_seconds=step_seconds,
        timeline=found.timeline,
        saved=found.saved,
        regions=regions,
        step=step,
        allocator_peak_bytes=found.allocator_peak_bytes,
        recorded_seconds=found.timeline.seconds,
        step_parts=_step_parts(found.ops, found.timeline.seconds),
        ops=found.ops,
        nodes=found.nodes,
        device_use=device_use,
        fragmentation=fragmentation,
        missing=(*missing, *found.missing),
        ended=ended,
    )


def _step_parts(ops: Sequence[OpTime], seconds: float) -> tuple[StepPart, ...]:
    """The ops of each phase, and the rest by its name."""
    if not seconds:
        return ()
    spent = dict.fromkeys(PHASES, 0.0)
    for each in ops:
        spent[each.phase] += each.seconds
    parts = [StepPart(f"{phase} ops", took) for phase, took in spent.items() if took]
    return (*parts, StepPart("launch and Python", seconds - sum(spent.values())))


def ending(error: BaseException) -> str:
    """An exception that ended a recording, in a line."""
    name, text = type(error).__name__, first_line(error)
    return name if text == name else f"{name}: {text}"


def model_name(roots: Iterable[nn.Module]) -> str:
    """Class paths of root modules."""
    types = (type(computed(module)) for module in roots)
    names = dict.fromkeys(f"{each.__module__}.{each.__qualname__}" for each in types)
    return ", ".join(names)


def signature(args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    """A call's tensors as people read them, e.g. `int64[8,256], float32[8,3,32,32]`."""
    leaves = torch.utils._pytree.tree_leaves((tuple(args), kwargs))
    return ", ".join(
        f"{str(leaf.dtype).removeprefix('torch.')}[{','.join(_sizes(leaf))}]"
        for leaf in leaves
        if isinstance(leaf, torch.Tensor)
    )


def _sizes(tensor: torch.Tensor) -> list[str]:
    return ["nested"] if tensor.is_nested else [str(size) for size in tensor.shape]
