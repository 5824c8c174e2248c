"""NVML: samples what the whole device and this process hold, on a thread of its own.

Source: the NVML API by way of pynvml (the package nvidia-ml-py), which is imported only when a
watch begins.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from fastsa.instrumentation import threads
from fastsa.records.profile import DeviceSample, DeviceUse

if TYPE_CHECKING:
    import torch

PERIOD_SECONDS = 0.05
MAX_SAMPLES = 2_000  # when they are full every second one goes, and the period doubles


@dataclass(frozen=True)
class Card:
    """A CUDA device as NVML finds it, whatever CUDA_VISIBLE_DEVICES made of the numbers."""

    uuid: str  # without "GPU-" or "MIG-"
    bus: str  # PCI bus id, e.g. "00000000:65:00.0"


class Device(msgspec.Struct, frozen=True):
    """A card of this machine, and by process the bytes that it holds there.

    In a container, NVML may tell the host's process numbers, or no bytes (-1).
    """

    index: int
    name: str
    total_bytes: int
    used_bytes: int
    processes: dict[int, int] = {}


def devices() -> tuple[Device, ...]:
    """The cards of this machine; none where NVML cannot be read, for whatever reason."""
    try:
        nvml = _initialised()
    except Exception:  # noqa: BLE001  no package, no driver, no card
        return ()
    try:
        return tuple(_device(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError:
        return ()
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def driver() -> tuple[str | None, str]:
    """The driver's version, or None and why it cannot be told."""
    try:
        nvml = _initialised()
    except Exception as error:  # noqa: BLE001  no package, no driver, no card
        return None, _sentence(error)
    try:
        return str(nvml.nvmlSystemGetDriverVersion()), ""
    except nvml.NVMLError as error:
        return None, _sentence(error)
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _device(nvml: Any, index: int) -> Device:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    held: dict[int, int] = {}
    for each in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
        held[each.pid] = -1 if each.usedGpuMemory is None else int(each.usedGpuMemory)
    name = str(nvml.nvmlDeviceGetName(handle))
    return Device(index, name, int(memory.total), int(memory.used), held)


class DeviceWatch:
    """Context manager: samples the device until it ends, then `use` or `missing` is there.

    `missing` is a sentence that says why there is no `use`, or why it ends early; both stay None
    for a device that is no GPU. Nothing is raised into the script. A forked child has neither.
    """

    def __init__(
        self,
        card: Card | None,
        allocator_bytes: Callable[[], int],
        *,
        period_seconds: float = PERIOD_SECONDS,
        max_samples: int = MAX_SAMPLES,
    ) -> None:
        self.use: DeviceUse | None = None
        self.missing: str | None = None
        self._card = card
        self._allocator_bytes = allocator_bytes
        self._period = period_seconds
        self._most = max_samples
        self._samples: list[DeviceSample] = []
        self._facts = ("", "", 0)
        self._others = 0
        self._start = 0.0
        self._nvml: Any = None
        self._handle: Any = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def __enter__(self) -> Self:
        if self._card is None:
            return self
        try:
            self._nvml = _initialised()
            self._handle = _find(self._nvml, self._card)
            self._facts = _facts(self._nvml, self._handle)
            self._start = time.perf_counter()
            self._sample()
        except Exception as error:  # noqa: BLE001  any failure here means only: no NVML
            self._fail(error)
            self._shut_down()
            return self
        self._thread = threading.Thread(target=self._run, name="fastsa-nvml", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After a fork the thread is gone, and it may have held any lock, NVML's own included.
        if self._thread is None or os.getpid() != self._process:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        try:
            self._sample()
        except Exception as failure:  # noqa: BLE001  what was sampled before it stays good
            self._fail(failure)
        name, driver, total = self._facts
        self.use = DeviceUse(name, driver, total, self._others, tuple(self._samples))
        self._shut_down()

    def _run(self) -> None:
        threads.harmless.add(threading.get_ident())
        try:
            while not self._stop.wait(self._period):
                self._sample()
        except Exception as error:  # noqa: BLE001  e.g. the device was lost
            self._fail(error)
        finally:
            threads.harmless.discard(threading.get_ident())

    def _sample(self) -> None:
        nvml, handle = self._nvml, self._handle
        used = int(nvml.nvmlDeviceGetMemoryInfo(handle).used)
        allocated = self._allocator_bytes()
        own, others = _processes(nvml, handle, uses_it=allocated > 0)
        self._others = max(self._others, others)
        if len(self._samples) >= self._most:
            del self._samples[1::2]
            self._period *= 2
        seconds = time.perf_counter() - self._start
        self._samples.append(DeviceSample(seconds, used, own, allocated))

    def _fail(self, error: Exception) -> None:
        self.missing = _sentence(error)

    def _shut_down(self) -> None:
        if self._nvml is None:
            return
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError as error:
            self._fail(error)
        self._nvml = None


def watch(device: torch.device) -> DeviceWatch:
    """A watch over the card behind a torch device; one that watches nothing if it is no GPU."""
    if device.type != "cuda":
        return DeviceWatch(None, lambda: 0)
    import torch

    try:
        card = _card(device)
    except (RuntimeError, AssertionError) as error:  # CUDA cannot be used, torch says why
        nothing = DeviceWatch(None, lambda: 0)
        nothing.missing = _sentence(error)
        return nothing
    return DeviceWatch(card, lambda: int(torch.cuda.memory_reserved(device)))


def _card(device: torch.device) -> Card:
    import torch

    found = torch.cuda.get_device_properties(device)
    parts = ("domain", "bus", "device")
    domain, bus, slot = (int(getattr(found, f"pci_{part}_id", 0)) for part in parts)
    uuid = str(getattr(found, "uuid", "")).removeprefix("GPU-").removeprefix("MIG-")
    return Card(uuid, f"{domain:08x}:{bus:02x}:{slot:02x}.0")


def _initialised() -> Any:
    import pynvml

    pynvml.nvmlInit()
    return pynvml


def _find(nvml: Any, card: Card) -> Any:
    for uuid in (f"GPU-{card.uuid}", f"MIG-{card.uuid}"):
        try:
            return nvml.nvmlDeviceGetHandleByUUID(uuid)
        except nvml.NVMLError:
            continue
    return nvml.nvmlDeviceGetHandleByPciBusId(card.bus)


def _facts(nvml: Any, handle: Any) -> tuple[str, str, int]:
    """Name, driver and bytes of the device."""
    total = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    return str(nvml.nvmlDeviceGetName(handle)), str(nvml.nvmlSystemGetDriverVersion()), total


def _processes(nvml: Any, handle: Any, *, uses_it: bool) -> tuple[int | None, int]:
    """Bytes of this process, None where NVML cannot tell, and how many others there are."""
    running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    own = [each for each in running if each.pid == os.getpid()]
    if own:
        known = [each.usedGpuMemory for each in own if each.usedGpuMemory is not None]
        return (sum(known) if known else None), len(running) - len(own)
    # In a container the pids are the host's: if we use the device, one of them is us.
    return None, max(0, len(running) - uses_it)


def _sentence(error: Exception) -> str:
    return f"NVML was not read: {_why(error)}"


def _why(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "pynvml is not installed. Install the package nvidia-ml-py"
    name = type(error).__name__
    if name == "NVMLError_LibraryNotFound":
        return "the driver's library libnvidia-ml.so.1 was not found. Install the NVIDIA driver"
    if name == "NVMLError_LibRmVersionMismatch":
        return "the driver and its library are of different versions. Restart the machine"
    return str(error) or name
