"""Profiles with every field filled, as of a step that ran: a small transformer, layer by layer."""

from __future__ import annotations

import msgspec

from fastsa.planner.graph import Graph
from fastsa.records.profile import (
    DeviceSample,
    DeviceUse,
    Fragmentation,
    MeasuredRegion,
    NodeTime,
    OpTime,
    Profile,
    Saved,
    StepPart,
)
from fastsa.records.timeline import Allocation, Category, Phase, Site, Timeline
from support import builders

MIB = 1 << 20
EVIL = "</script><script>alert('model')</script><b>Net</b>&amp;\u2028 模型"
PARTS = (
    ("attn.qkv", "aten::addmm", "AddmmBackward0", 6),
    ("attn.softmax", "aten::_softmax", "SoftmaxBackward0", 8),
    ("attn.dropout", "aten::native_dropout", "NativeDropoutBackward0", 2),
    ("mlp.up", "aten::addmm", "AddmmBackward0", 4),
    ("mlp.act", "aten::gelu", "GeluBackward0", 4),
    ("norm", "aten::native_layer_norm", "NativeLayerNormBackward0", 1),
)
TICK = 1e-3  # seconds between two events


class Memory:
    """An allocator that notes what it is asked for."""

    def __init__(self) -> None:
        self.sites: dict[Site, int] = {}
        self.blocks: list[Allocation] = []
        self.event = self.live = self.resident = 0
        self.peak = (0, -1)

    def before(self, size: int, category: Category, module: str | None = None) -> int:
        """A block from before the step."""
        self.live += size
        self.resident += size
        self.peak = (self.live, -1)
        return self._add(
            Allocation(size, None, None, None, None, self._site(Site(category, module=module)))
        )

    def allocate(self, size: int, site: Site) -> int:
        """Returns the position of the block."""
        event, self.event = self.event, self.event + 1
        self.live += size
        self.peak = max(self.peak, (self.live, event), key=lambda each: each[0])
        return self._add(Allocation(size, event, None, event * TICK, None, self._site(site)))

    def free(self, position: int) -> None:
        event, self.event = self.event, self.event + 1
        block = self.blocks[position]
        self.live -= block.bytes
        self.blocks[position] = msgspec.structs.replace(
            block, death=event, death_seconds=event * TICK
        )

    def timeline(self) -> Timeline:
        return Timeline(
            events=self.event,
            resident_bytes=self.resident,
            peak_bytes=self.peak[0],
            peak_event=self.peak[1],
            seconds=self.event * TICK,
            sites=tuple(self.sites),
            allocations=tuple(self.blocks),
        )

    def _site(self, site: Site) -> int:
        return self.sites.setdefault(site, len(self.sites))

    def _add(self, block: Allocation) -> int:
        self.blocks.append(block)
        return len(self.blocks) - 1


def _name(layer: int, part: str) -> str:
    return f"transformer.h.{layer}.{part}"


def _module(layer: int, part: str, evil: str) -> str:
    return f"{_name(layer, part)}.{evil}" if part == PARTS[0][0] else _name(layer, part)


def _resident(memory: Memory, layers: int, evil: str) -> None:
    for layer in range(layers):
        for part, *_ in PARTS:
            size = (layer % 3 + 1) * MIB // 2
            memory.before(size, "parameter", _name(layer, part))
            memory.before(2 * size, "optimizer", _name(layer, part))
    memory.before(MIB // 4, "buffer", f"transformer.{evil}")
    memory.before(MIB, "other")


def _forward(memory: Memory, layers: int, evil: str) -> list[tuple[int, int, str]]:
    """Returns the activations: their positions, bytes and modules."""
    memory.allocate(MIB // 8, Site("input", "forward", "aten::to", source="train.py:12"))
    memory.allocate(3 * MIB, Site("library", "forward", "cupy.empty", source="train.py:14"))
    kept = []
    for layer in range(layers):
        for number, (part, op, node, size) in enumerate(PARTS):
            module = _module(layer, part, evil)
            source = f"/home/someone/project/model.py:{20 + number}"
            scratch = memory.allocate(MIB, Site("workspace", "forward", op, module, source))
            made = Site("activation", "forward", op, module, source, node)
            kept.append((memory.allocate(size * MIB, made), size * MIB, module))
            memory.free(scratch)
    return kept


def _backward(memory: Memory, kept: list[tuple[int, int, str]]) -> None:
    sites = tuple(memory.sites)  # those of the forward, in their order
    for position, size, module in reversed(kept):
        site = sites[memory.blocks[position].site]
        now = Site("temporary", "backward", f"{site.op}_backward", module, site.source)
        grown = Site("gradient", "backward", "aten::mm", module, site.source)
        scratch = memory.allocate(size, now)
        memory.allocate(MIB // 4, grown)
        memory.free(position)
        memory.free(scratch)


def _optimizer(memory: Memory, layers: int) -> None:
    for layer in range(layers):
        site = Site("temporary", "optimizer", "aten::_foreach_add", source="train.py:40")
        memory.free(memory.allocate((layer % 2 + 1) * MIB, site))


def timeline(layers: int = 6, evil: str = "proj") -> Timeline:
    """The blocks of a step; `evil` is the name of a module."""
    memory = Memory()
    _resident(memory, layers, evil)
    kept = _forward(memory, layers, evil)
    _backward(memory, kept)
    _optimizer(memory, layers)
    return memory.timeline()


def _saved(whole: Timeline) -> tuple[Saved, ...]:
    found = [
        Saved(
            "AddmmBackward0",
            "mat1",
            MIB,
            (512, 512),
            "float32",
            True,
            "aten::addmm",
            "transformer.h.0",
        )
    ]
    for block in whole.allocations:
        site = whole.site(block)
        if site.node:
            size = (block.bytes // 4,)
            found.append(
                Saved(
                    site.node,
                    "result",
                    block.bytes,
                    size,
                    "float32",
                    False,
                    site.op,
                    site.module,
                    site.source,
                    block.birth_seconds,
                    block.death_seconds,
                )
            )
    return tuple(found)


def _ops(layers: int, evil: str) -> tuple[OpTime, ...]:
    phases: tuple[Phase, ...] = ("forward", "backward")
    found = [
        OpTime(
            op,
            phase,
            _module(layer, part, evil),
            f"model.py:{20 + number}",
            2,
            1e-4 * size * (1 + back),
        )
        for layer in range(layers)
        for number, (part, op, _, size) in enumerate(PARTS)
        for back, phase in enumerate(phases)
    ]
    stepped = OpTime("aten::_foreach_add", "optimizer", None, "train.py:40", layers, 1.2e-3)
    return (*found, stepped)


def _device() -> DeviceUse:
    samples = tuple(
        DeviceSample(
            i * 0.05, (2000 + 40 * min(i, 20)) * MIB, (700 + 40 * min(i, 20)) * MIB, 40 * i * MIB
        )
        for i in range(30)
    )
    return DeviceUse("NVIDIA Test 80GB", "570.1", 80 << 30, 1, samples)


def full(
    layers: int = 6, *, model: str = "__main__.GPT", evil: str = "proj", graph: Graph | None = None
) -> Profile:
    """A profile with everything in it."""
    whole = timeline(layers, evil)
    measured = graph or builders.graph(layers, size=8 * MIB)
    return Profile(
        schema="fastsa.profile/2",
        created="2026-01-02T03:04:05+00:00",
        script="train.py",
        arguments=("--steps", "3"),
        model=model,
        parameters=1234567,
        shape="int64[8,256]",
        device=builders.DEVICE,
        versions={"torch": "2.13.0", "fastsa": "0.1.0", "cuda": "13.0"},
        resident_bytes=whole.resident_bytes,
        peak_bytes=whole.peak_bytes,
        step_seconds=0.75 * whole.seconds,
        timeline=whole,
        saved=_saved(whole),
        regions=(MeasuredRegion(builders.captured(measured), measured),),
        allocator_peak_bytes=whole.peak_bytes - 3 * MIB,
        recorded_seconds=whole.seconds,
        step_parts=(
            StepPart("forward ops", 0.03),
            StepPart("backward ops", 0.06),
            StepPart("launch and Python", 0.01),
        ),
        ops=_ops(layers, evil),
        nodes=tuple(NodeTime(node, _name(0, part), layers, 1e-3) for part, _, node, _ in PARTS),
        device_use=_device(),
        fragmentation=Fragmentation(900 * MIB, 700 * MIB, 64 * MIB, 12),
    )


def broken(layers: int = 6) -> Profile:
    """The same of a step that ran out of memory."""
    return msgspec.structs.replace(
        full(layers),
        ended="OutOfMemoryError: tried to allocate 2.00 GiB",
        missing=("the step broke off in the backward: its end is not known", "NVML: no driver"),
        minimum_budget_bytes=100 * MIB,
        step_seconds=None,
        device_use=None,
    )


def untimed(layers: int = 6) -> Profile:
    """The same without any seconds, modules or lines."""
    whole = timeline(layers)
    bare = msgspec.structs.replace(
        whole,
        seconds=0.0,
        sites=tuple(Site(site.category) for site in whole.sites),
        allocations=tuple(
            msgspec.structs.replace(block, birth_seconds=None, death_seconds=None)
            for block in whole.allocations
        ),
    )
    return msgspec.structs.replace(
        full(layers),
        timeline=bare,
        saved=(),
        ops=(),
        nodes=(),
        step_parts=(),
        step_seconds=None,
        device_use=None,
        fragmentation=None,
    )
