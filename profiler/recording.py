"""Recording: one stretch of a training program, from its first allocation to its last.

Whoever watches the program says when forwards, backwards and optimizer steps happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.optim import Optimizer

from fastsa.instrumentation.allocators import cupy as cupy_memory
from fastsa.instrumentation.allocators.cupy import CupyAllocator
from fastsa.instrumentation.garbage import no_collection
from fastsa.instrumentation.kineto import refuse_second
from fastsa.instrumentation.storages import (
    StorageFinalizers,
    live_bytes,
    live_storages,
    named_modules,
    optimizer_storages,
    owners,
    storage_address,
)
from fastsa.instrumentation.threads import alone
from fastsa.profiler.autograd import Held, saved_storages
from fastsa.profiler.recorded import Recorded, StepObservations, recorded
from fastsa.profiler.timeline_builder import Label
from fastsa.profiler.trace import TracedBlock, Tracer

NOT_ALONE = (
    "other threads were at work: of what was alive before, only what models and optimizers hold "
    "is known"
)


TRACED_BY_SCRIPT = "the script profiles its own Python: lines and modules are not known"
COMPILES = "torch compiled the model in the recorded step: lines and modules are not known"


class Recording:
    """Records `device` from its making to `stop`; then `read` says what happened.

    Args:
        device: Whose allocations are recorded.
        roots: The models, for the names of modules; more may be added before their first forward.
        compiles: torch is expected to compile in the step. Python's calls are not recorded then:
            the tracer makes millions, and torch's profiler takes 35 s to sort those of a
            transformer of three blocks.

    Raises:
        FastsaError: The program is running torch's profiler.
    """

    def __init__(
        self, device: torch.device, roots: Iterable[nn.Module], *, compiles: bool = False
    ) -> None:
        refuse_second()  # before anything else: every call below would be traced by the first
        self._device = device
        self._roots = roots
        self._labels: list[tuple[str, Mapping[int, Label]]] = []
        self._backwards: list[tuple[str, Mapping[int, Held]]] = []
        self._owners: dict[int, str] = {}
        self._known_roots = -1
        self._meet_roots()
        self._cupy = CupyAllocator(device)
        self._compiles = compiles
        self._tracer = Tracer(device, with_stack=not compiles)
        self._finalizers: StorageFinalizers | None = None
        with no_collection():  # what would be collected between looking and tracing would be missed
            self._look(device)
            # Last: every Python call from now on is traced, and looking for tensors is a million.
            self._tracer.start()
        self._cupy.__enter__()
        self._tracer.mark("begin")

    def _look(self, device: torch.device) -> None:
        with alone() as is_alone:
            self._was_alone = is_alone
            self._alive = live_storages(device, self._owners)
            # CUDA reports the release of every block, the CPU allocator only of those it saw made.
            if device.type == "cpu":
                self._finalizers = StorageFinalizers(device, self._owners, self._tracer.released)
        self._library_bytes = cupy_memory.live_bytes(device)
        known = sum(storage.bytes for storage in self._alive.values())
        self.start_bytes = known if device.type == "cpu" else live_bytes(device)

    @property
    def was_interrupted(self) -> bool:
        """Whether the program has started a profiler of its own, which ends the recording."""
        return self._tracer.was_interrupted

    def _meet_roots(self) -> None:
        known = list(self._roots)
        if len(known) != self._known_roots:
            self._known_roots = len(known)
            self._owners = owners(known)

    def forward(self, arguments: object) -> None:
        """A root module is about to be called with these arguments."""
        self._meet_roots()
        leaves = torch.utils._pytree.tree_leaves(arguments)
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_leaf]
        self._label("forward", dict.fromkeys(map(storage_address, tensors), Label("input")))

    def backward(self, tensors: Sequence[torch.Tensor]) -> None:
        """The backward of these tensors is about to run."""
        self._cupy.join()
        held = saved_storages(tensors, self._alive)
        known = {a: Label("activation", node=each.saved.node) for a, each in held.items()}
        self._backwards.append((self._label("backward", known), held))

    def stepped(self, optimizer: Optimizer) -> None:
        """An optimizer has stepped: its state and the gradients are there to be seen."""
        known = optimizer_storages(optimizer, self._owners)
        self._label("optimizer", {a: Label(s.category, s.module) for a, s in known.items()})

    def _label(self, what: str, known: Mapping[int, Label]) -> str:
        name = f"{what} {len(self._labels)}"
        self._tracer.mark(name)
        self._labels.append((name, known))
        return name

    def stop(self) -> None:
        """Stop recording. Safe to call twice."""
        self._tracer.mark("end")
        self._tracer.stop()
        self._cupy.__exit__(None, None, None)
        if self._finalizers is not None:
            self._finalizers.close()

    def read(self) -> Recorded:
        """What happened."""
        modules = {id(module): path for path, module in named_modules(self._roots)}
        seen = StepObservations(
            alive=self._alive,
            start_bytes=self.start_bytes,
            library_bytes=self._library_bytes,
            labels=self._labels,
            backwards=self._backwards,
        )
        more = [
            TracedBlock(
                each.nanoseconds, each.bytes, each.address, op=each.op, place=(None, each.source)
            )
            for each in self._cupy.events
        ]
        result = recorded(self._tracer.read(modules), seen, more)
        self._alive, self._labels, self._backwards = {}, [], []
        missing = [NOT_ALONE] if not self._was_alone else []
        if not self._tracer.has_stacks:
            missing.append(COMPILES if self._compiles else TRACED_BY_SCRIPT)
        return replace(result, missing=(*result.missing, *missing))
