"""Calls: when each part of each captured region runs in a step, and on which storages."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from fastsa.instrumentation.allocators.events import Allocator
from fastsa.instrumentation.storages import storage_address

R = TypeVar("R")


@dataclass
class RegionCall(Generic[R]):
    """One forward of a region, and the backward that belongs to it if there was one.

    Storages are addresses at the time: of the forward's arguments and outputs, of the tangents
    and the gradients of the backward; 0 stands for no tensor. `forward` and `backward` count the
    segments of the step in which a region runs, in the order they ran. `accumulated` are the
    positions of gradients that go into a `.grad` of before: they end with the backward.
    """

    region: R
    inputs: tuple[int, ...]
    forward: int
    outputs: tuple[int, ...] = ()
    backward: int | None = None
    tangents: tuple[int, ...] = ()
    tangent_bytes: tuple[int, ...] = ()
    gradients: tuple[int, ...] = ()
    accumulated: frozenset[int] = frozenset()
    whole: bool = False  # whether the backward has come to its end


class CallLog(Generic[R]):
    """Told by regions when their parts run, while an allocator is being recorded.

    Calls of one region end in reverse order, as their backwards run. `segments` is how many parts
    have run; the allocator has a span of `segment_name(i)` for each.
    """

    def __init__(self, allocator: Allocator) -> None:
        self.calls: list[RegionCall[R]] = []
        self.segments = 0
        self._allocator = allocator
        self._span: AbstractContextManager[object] | None = None
        self._running: RegionCall[R] | None = None

    def forward_begins(self, region: R, arguments: Sequence[Any]) -> None:
        """A forward is about to run on `arguments`."""
        self._running = RegionCall(region, addresses(arguments), self._begin())
        self.calls.append(self._running)

    def forward_ended(self, outputs: Sequence[Any]) -> None:
        """It has run, and gives `outputs` to the script."""
        if self._end() is not None and self._running is not None:
            self._running.outputs = addresses(outputs)

    def backward_begins(
        self, region: R, tangents: Sequence[Any], accumulated: Collection[int] = ()
    ) -> None:
        """A backward is about to run on `tangents`."""
        open_ = (c for c in reversed(self.calls) if c.region is region and c.backward is None)
        self._running = next(open_, None)
        number = self._begin()
        if self._running is not None:
            self._running.backward = number
            self._running.tangents = addresses(tangents)
            self._running.accumulated = frozenset(accumulated)
            self._running.tangent_bytes = storage_sizes(tangents)

    def backward_ended(self, gradients: Sequence[Any]) -> None:
        """It has run, and gives `gradients` to the engine."""
        if self._end() is not None and self._running is not None:
            self._running.gradients = addresses(gradients)
            self._running.whole = True

    def _begin(self) -> int:
        self._end()  # of a part that failed
        number = self.segments
        self.segments += 1
        self._span = self._allocator.span(segment_name(number))
        self._span.__enter__()
        return number

    def _end(self) -> object | None:
        span, self._span = self._span, None
        if span is not None:
            span.__exit__(None, None, None)
        return span


def segment_name(number: int) -> str:
    """The span of the allocator's recording that holds a segment."""
    return f"segment {number}"


def addresses(values: Sequence[Any]) -> tuple[int, ...]:
    """Where the storages of tensors are; 0 for what is no tensor."""
    return tuple(storage_address(v) if isinstance(v, torch.Tensor) else 0 for v in values)


def storage_sizes(values: Sequence[Any]) -> tuple[int, ...]:
    """Bytes of the storage behind each tensor; 0 where an earlier one has the same storage."""
    seen: set[int] = set()
    sizes = []
    for value, address in zip(values, addresses(values), strict=True):
        known = not address or address in seen
        sizes.append(0 if known else int(value.untyped_storage().nbytes()))
        seen.add(address)
    return tuple(sizes)
