"""CuPy: what it allocates in this process, counted, recorded, or moved to PyTorch's allocator.

Nothing here imports CuPy: it is looked at when the program has imported it, or as soon as it does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, MutableMapping
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from fastsa.errors import warn
from fastsa.instrumentation.after_import import AfterImport
from fastsa.instrumentation.allocators.events import Event

CUPY = "cupy"
OP = "cupy"
_HOOK_NAME = "fastsa"
_LIBRARIES = ("cupy", "cupyx", "torch", "fastsa")


def live_bytes(device: torch.device) -> int:
    """Bytes of CuPy's pools on `device` that arrays use now; 0 where there is no CuPy.

    Arrays that CuPy allocates elsewhere, by `share_pool` for example, are not in its pools.
    """
    cupy = sys.modules.get(CUPY)
    if device.type != "cuda" or cupy is None:
        return 0
    try:
        with cupy.cuda.Device(_index(device)):
            return sum(int(pool.used_bytes()) for pool in _pools(cupy))
    except Exception:  # noqa: BLE001  CuPy without a usable device, or still being imported
        return 0


class CupyAllocator:
    """Context manager: records CuPy's pools on one device as allocator events of the op `cupy`.

    CuPy keeps its hooks thread by thread: those of the thread that enters are seen, and those of
    any other that calls `join` (a backward on a GPU runs in threads of its own).
    Source: `cupy.cuda.MemoryHook`; sizes are those of the pool, which rounds to 512 bytes.
    """

    def __init__(self, device: torch.device) -> None:
        self.events: list[Event] = []
        self._device = device
        self._joined: list[MutableMapping[str, Any]] = []
        self._hook: Any = None
        self._recording = False
        self._import: AfterImport | None = None

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            self._recording = True
            self._import = AfterImport(CUPY, self.join)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._import is not None:
            self._import.close()
        self._recording = False
        for hooks in self._joined:
            hooks.pop(_HOOK_NAME, None)
        self._joined.clear()

    def join(self) -> None:
        """Record what this thread allocates, too. Does nothing while there is no CuPy."""
        cupy = sys.modules.get(CUPY)
        if cupy is None or not self._recording:
            return
        if self._hook is None:
            self._hook = _hook(cupy, self.events, _index(self._device))
        hooks = cupy.cuda.memory_hook.get_memory_hooks()  # this thread's
        if _HOOK_NAME not in hooks:
            hooks[_HOOK_NAME] = self._hook
            self._joined.append(hooks)


class SharedPool:
    """Context manager: CuPy allocates from PyTorch's caching allocator, as soon as it is imported.

    Both then draw on one pool, and CuPy's arrays are part of what PyTorch's allocator counts and
    records. At the end CuPy gets its own pool back, unless the program has set another since.
    """

    def __init__(self) -> None:
        self._cuda: Any = None
        self._before: Any = None
        self._ours: Any = None
        self._import: AfterImport | None = None

    def __enter__(self) -> Self:
        self._import = AfterImport(CUPY, self._share)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._import is not None:
            self._import.close()
        if self._ours is not None and self._cuda.get_allocator() == self._ours:
            self._cuda.set_allocator(self._before)
        self._ours = None

    def _share(self) -> None:
        if torch.version.cuda is None:
            _warn("this PyTorch is built without CUDA")
            return
        try:
            self._cuda = sys.modules[CUPY].cuda
            before = self._cuda.get_allocator()
            ours = self._cuda.PythonFunctionAllocator(_allocate, _release).malloc
            self._cuda.set_allocator(ours)
        except Exception as error:  # noqa: BLE001  the program's import of CuPy must not fail
            _warn(f"{type(error).__name__}: {error}")
            return
        self._before, self._ours = before, ours


def share_pool() -> SharedPool:
    """Put CuPy on PyTorch's caching allocator while the result is entered."""
    return SharedPool()


def _allocate(size: int, device: int) -> int:
    if not size:
        return 0
    # On CuPy's own stream: a block is given away again only to work queued behind its last use.
    stream = int(sys.modules[CUPY].cuda.get_current_stream().ptr)
    return int(torch.cuda.caching_allocator_alloc(size, device, stream))


def _release(address: int, device: int) -> None:
    if address and not sys.is_finalizing():  # the allocator may be gone before the last array
        torch.cuda.caching_allocator_delete(address)


def _warn(why: str) -> None:
    warn(f"CuPy keeps its own pool: {why}")


def _hook(cupy: Any, events: list[Event], index: int) -> Any:
    class Hook(cupy.cuda.memory_hook.MemoryHook):  # type: ignore[misc]
        name = _HOOK_NAME

        def malloc_postprocess(self, **seen: int) -> None:
            self.see(seen, 1)

        def free_postprocess(self, **seen: int) -> None:
            self.see(seen, -1)

        def see(self, seen: dict[str, int], sign: int) -> None:
            address, now = int(seen["mem_ptr"]), time.time_ns()
            if address and seen["device_id"] == index:  # 0: the allocation failed
                size = sign * int(seen["mem_size"])
                events.append(Event(now, size, address, OP, _source() if sign > 0 else None))

    return Hook()


def _source() -> str | None:
    """The line of the program that is running: not CuPy's, PyTorch's or ours."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if not any(f"/{library}/" in file for library in _LIBRARIES):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def _pools(cupy: Any) -> Iterator[Any]:
    """CuPy's default pool, and the one the program has set instead of it."""
    default = cupy.get_default_memory_pool()
    yield default
    current = getattr(cupy.cuda.get_allocator(), "__self__", None)
    if hasattr(current, "used_bytes") and current is not default:
        yield current


def _index(device: torch.device) -> int:
    index: int | None = device.index  # torch's stubs deny that it may be None
    return torch.cuda.current_device() if index is None else index
