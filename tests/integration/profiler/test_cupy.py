"""CuPy in the program's process. Without a GPU its pools hold nothing, but its hooks are real."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fastsa.instrumentation.allocators import cupy as cupy_memory
from fastsa.instrumentation.allocators.cupy import CupyAllocator, share_pool
from fastsa.instrumentation.allocators.events import net, peak_delta
from support.sandbox import CliSandbox

cupy = pytest.importorskip("cupy")
GPU = torch.device("cuda:0")


def python(program: str, sandbox: CliSandbox) -> str:
    """What a program prints in a process that has imported torch, but not CuPy."""
    file = sandbox.folder / "program.py"
    file.write_text(program)
    done = sandbox.start(file).done()
    assert done.returncode == 0, done.stderr
    return done.stdout


class Pool:
    """Tells the hooks of this thread what CuPy's pool would tell them."""

    def __init__(self) -> None:
        self.hooks = list(cupy.cuda.memory_hook.get_memory_hooks().values())

    def allocate(self, address: int, size: int, device: int = 0) -> None:
        rounded = (size + 511) // 512 * 512
        block = {"device_id": device, "size": size, "mem_size": rounded}
        for hook in self.hooks:
            hook.malloc_preprocess(device_id=device, size=size, mem_size=rounded)
            hook.malloc_postprocess(**block, mem_ptr=address, pmem_id=1)

    def release(self, address: int, size: int, device: int = 0) -> None:
        block = {"device_id": device, "mem_size": size, "mem_ptr": address, "pmem_id": 1}
        for hook in self.hooks:
            hook.free_preprocess(**block)
            hook.free_postprocess(**block)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    finders, allocator = list(sys.meta_path), cupy.cuda.get_allocator()
    yield
    assert sys.meta_path == finders
    assert cupy.cuda.get_allocator() == allocator
    assert dict(cupy.cuda.memory_hook.get_memory_hooks()) == {}


class TestRecording:
    def test_events(self) -> None:
        with CupyAllocator(GPU) as allocator:
            pool = Pool()
            pool.allocate(0x1000, 1000)
            pool.allocate(0x2000, 512)
            pool.release(0x1000, 1024)
            pool.allocate(0x1000, 100)
        assert [(event.address, event.bytes) for event in allocator.events] == [
            (0x1000, 1024),
            (0x2000, 512),
            (0x1000, -1024),
            (0x1000, 512),
        ]
        assert net(allocator.events) == 1024
        assert peak_delta(allocator.events) == 1536
        assert {event.op for event in allocator.events} == {"cupy"}
        times = [event.nanoseconds for event in allocator.events]
        assert times == sorted(times)

    def test_the_line_of_the_program(self) -> None:
        with CupyAllocator(GPU) as allocator:
            Pool().allocate(0x1000, 1)
        assert allocator.events[0].source
        file, line = allocator.events[0].source.split(":")
        assert file == __file__
        assert "malloc_postprocess" in Path(file).read_text().splitlines()[int(line) - 1]

    def test_failures_and_other_devices_do_not_count(self) -> None:
        with CupyAllocator(GPU) as allocator:
            Pool().allocate(0, 1000)
            Pool().allocate(0x1000, 1000, device=1)
        assert allocator.events == []

    def test_nothing_after_the_end(self) -> None:
        with CupyAllocator(GPU) as allocator:
            pool = Pool()
            assert len(pool.hooks) == 1
        assert Pool().hooks == []
        assert allocator.events == []

    def test_threads_that_join(self) -> None:
        """CuPy keeps hooks thread by thread; those of a thread that lives on are gone, too."""
        seen, left = list[int](), list[int]()
        entered, ended = threading.Event(), threading.Event()

        def backward(allocator: CupyAllocator) -> None:
            Pool().allocate(0x1000, 512)
            seen.append(len(allocator.events))
            allocator.join()
            allocator.join()
            Pool().allocate(0x2000, 512)
            seen.append(len(allocator.events))
            entered.set()
            ended.wait(30)
            left.append(len(Pool().hooks))

        with CupyAllocator(GPU) as allocator:
            thread = threading.Thread(target=backward, args=[allocator])
            thread.start()
            assert entered.wait(30)
        ended.set()
        thread.join()
        assert (seen, left) == ([0, 1], [0])

    def test_no_gpu_no_hook(self) -> None:
        with CupyAllocator(torch.device("cpu")) as allocator:
            allocator.join()
            assert Pool().hooks == []


class TestLater:
    """A program that imports CuPy when the recording is on."""

    def test_imported_while_recording(self, sandbox: CliSandbox) -> None:
        out = python(
            """
import sys, torch
from fastsa.instrumentation.allocators.cupy import CupyAllocator
finders = list(sys.meta_path)
with CupyAllocator(torch.device("cuda:0")) as allocator:
    assert "cupy" not in sys.modules
    import cupy
    for hook in cupy.cuda.memory_hook.get_memory_hooks().values():
        hook.malloc_postprocess(device_id=0, size=1, mem_size=512, mem_ptr=8, pmem_id=1)
print(len(allocator.events), dict(cupy.cuda.memory_hook.get_memory_hooks()))
print(sys.meta_path == finders, type(cupy.__loader__).__name__, type(cupy.__spec__.loader).__name__)
""",
            sandbox,
        )
        assert out == "1 {}\nTrue SourceFileLoader SourceFileLoader\n"

    def test_never_imported(self, sandbox: CliSandbox) -> None:
        out = python(
            """
import sys, torch
from fastsa.instrumentation.allocators import cupy as cupy_memory
finders = list(sys.meta_path)
with cupy_memory.CupyAllocator(torch.device("cuda:0")) as allocator, cupy_memory.share_pool():
    allocator.join()
    cupy_memory.live_bytes(torch.device("cuda:0"))
print(allocator.events, "cupy" in sys.modules, sys.meta_path == finders)
""",
            sandbox,
        )
        assert out == "[] False True\n"

    def test_not_installed(self, sandbox: CliSandbox) -> None:
        out = python(
            """
import sys
from fastsa.instrumentation.allocators.cupy import share_pool
sys.meta_path[:] = [finder for finder in sys.meta_path if "Path" not in str(finder)]
with share_pool():
    try:
        import cupy
    except ModuleNotFoundError as error:
        print(error)
""",
            sandbox,
        )
        assert out == "No module named 'cupy'\n"

    def test_broken(self, sandbox: CliSandbox) -> None:
        """A CuPy that cannot be imported says so itself, and may be tried again."""
        (sandbox.folder / "cupy.py").write_text("raise ImportError('no CUDA')")
        out = python(
            """
import sys
sys.path.insert(0, ".")
from fastsa.instrumentation.allocators.cupy import share_pool
with share_pool():
    for attempt in range(2):
        try:
            import cupy
        except ImportError as error:
            print(error)
""",
            sandbox,
        )
        assert out == "no CUDA\nno CUDA\n"


class TestCount:
    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
    def test_no_usable_device(self) -> None:
        assert cupy_memory.live_bytes(GPU) == 0

    def test_no_gpu(self) -> None:
        assert cupy_memory.live_bytes(torch.device("cpu")) == 0


class TestSharedPool:
    @pytest.fixture(autouse=True)
    def built_with_cuda(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Setting the allocator needs no device; using it would."""
        monkeypatch.setattr(torch.version, "cuda", torch.version.cuda or "13.0")

    def test_set_and_put_back(self) -> None:
        before = cupy.cuda.get_allocator()
        with share_pool():
            current: Any = cupy.cuda.get_allocator()
            assert isinstance(current.__self__, cupy.cuda.PythonFunctionAllocator)
        assert cupy.cuda.get_allocator() == before

    def test_the_program_sets_its_own(self) -> None:
        before, mine = cupy.cuda.get_allocator(), cupy.cuda.MemoryPool()
        with share_pool():
            cupy.cuda.set_allocator(mine.malloc)
        assert cupy.cuda.get_allocator() == mine.malloc
        cupy.cuda.set_allocator(before)

    def test_where_it_cannot_be_set(self) -> None:
        pool = cupy.cuda.MemoryPool()
        with (
            cupy.cuda.using_allocator(pool.malloc),
            pytest.warns(UserWarning, match="CuPy keeps its own pool: ValueError"),
            share_pool(),
        ):
            assert cupy.cuda.get_allocator() == pool.malloc


def test_torch_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.warns(UserWarning, match="built without CUDA"), share_pool():
        pass
