"""NVML through pynvml's own code: without a driver, and with a stand-in for its library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fastsa.instrumentation.nvml import watch
from support.paths import SUPPORT

MIB = 2**20

PROGRAM = """
import json, sys, threading
from fastsa.instrumentation.nvml import Card, DeviceWatch
before = sorted(set(sys.modules) & {"pynvml", "torch"})
options = json.loads(sys.argv[1])
wanted, samples, enough = options.pop("samples", 2), [], threading.Event()
def allocator_bytes():
    samples.append(500 << 20)
    if len(samples) >= wanted:
        enough.set()
    return samples[-1]
card = Card(options.pop("uuid", "1"), options.pop("bus", "?"))
with DeviceWatch(card, allocator_bytes, **options) as watch:
    if watch.missing is None:
        enough.wait()
use = watch.use
print(json.dumps({
    "before": before,
    "missing": watch.missing,
    "use": use and {name: getattr(use, name) for name in use.__struct_fields__},
    "beyond": use and use.beyond_bytes,
}, default=lambda s: [s.seconds, s.used_bytes, s.process_bytes, s.allocator_bytes]))
"""

ALONE = """
import time
from fastsa.instrumentation.nvml import Card, DeviceWatch
from fastsa.instrumentation.threads import alone, harmless
calls = []
def busy():
    calls.append(0)
    until = time.thread_time() + 0.01
    while time.thread_time() < until:
        pass
    return 0
with DeviceWatch(Card("1", "?"), busy, period_seconds=0.0001) as watch:
    seen = set()
    while len(calls) < 20:
        time.sleep(0.003)
        with alone() as is_alone:
            seen.add(is_alone)
print(seen, harmless, len(watch.use.samples) >= 20)
"""

FORKS = """
import os, sys, time
from fastsa.instrumentation.nvml import Card, DeviceWatch
with DeviceWatch(Card("1", "?"), lambda: 0, period_seconds=0.0001) as watch:
    time.sleep(0.05)
    children = [os.fork() for _ in range(1)]
os.write(1, b"%s %r\\n" % (b"parent" if children[0] else b"child", watch.use is not None))
if children[0]:
    sys.exit(os.waitpid(children[0], 0)[1])
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stand-in."""
    folder = tmp_path_factory.mktemp("nvml")
    file = folder / "libnvidia-ml.so.1"
    source = SUPPORT / "stand_in_nvml.cpp"
    subprocess.run(["g++", "-shared", "-fPIC", "-o", file, source], check=True)
    return folder


def run(program: str, *arguments: str, folder: Path | None = None, **more: str) -> str:
    environment = {**os.environ, **more}
    if folder is not None:
        environment["LD_LIBRARY_PATH"] = str(folder)
    done = subprocess.run(
        # Python warns of a fork beside threads, which is what is tested.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def watched(
    folder: Path | None = None, *, environment: dict[str, str] | None = None, **options: Any
) -> Any:
    return json.loads(run(PROGRAM, json.dumps(options), folder=folder, **(environment or {})))


DEVICES = """
from fastsa.instrumentation.nvml import devices
print([(d.index, d.name, d.used_bytes >> 20, d.processes) for d in devices()])
"""


class TestDevices:
    def test_what_others_hold(self, library: Path) -> None:
        said = run(DEVICES, folder=library, NVML_PROCESSES="others")
        held = {1: 600 * MIB, 2: 300 * MIB}
        assert said == f"[(0, 'Stand-in 8000', 1001, {held})]\n"

    def test_none(self, tmp_path: Path) -> None:
        (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
        assert run(DEVICES, folder=tmp_path) == "[]\n"

    def test_one_that_is_lost(self, library: Path) -> None:
        """By the second look."""
        said = run(DEVICES + DEVICES.splitlines()[-1], folder=library, NVML_LOST="1")
        assert said.splitlines()[1] == "[]"


@pytest.mark.promise("fault-25")
class TestWithoutNvml:
    def test_no_driver(self, tmp_path: Path) -> None:
        (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
        seen = watched(tmp_path)
        assert seen["use"] is None
        assert seen["missing"] == (
            "NVML was not read: the driver's library libnvidia-ml.so.1 was not found. "
            "Install the NVIDIA driver"
        )

    def test_no_pynvml(self, tmp_path: Path) -> None:
        (tmp_path / "pynvml.py").write_text("raise ModuleNotFoundError('pynvml')")
        seen = watched(environment={"PYTHONPATH": str(tmp_path)})
        assert seen["use"] is None
        assert "Install the package nvidia-ml-py" in seen["missing"]

    @pytest.mark.parametrize(("code", "words"), [("9", "Driver Not Loaded"), ("18", "versions")])
    def test_no_start(self, library: Path, code: str, words: str) -> None:
        seen = watched(library, environment={"NVML_INIT": code})
        assert seen["use"] is None
        assert words in seen["missing"]

    def test_no_such_device(self, library: Path) -> None:
        seen = watched(library, uuid="2")
        assert seen["use"] is None
        assert seen["missing"] == "NVML was not read: Not Found"

    def test_no_gpu(self) -> None:
        with watch(torch.device("cpu")) as nothing:
            pass
        assert (nothing.use, nothing.missing) == (None, None)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
    def test_no_cuda(self) -> None:
        with watch(torch.device("cuda")) as nothing:
            pass
        assert nothing.use is None
        assert nothing.missing
        assert nothing.missing.startswith("NVML was not read: ")


class TestSamples:
    def test_device(self, library: Path) -> None:
        seen = watched(library, period_seconds=0.02, samples=5)
        assert seen["before"] == []  # importing the module costs neither
        assert seen["missing"] is None
        use = seen["use"]
        assert (use["name"], use["driver"]) == ("Stand-in 8000", "123.45")
        assert use["total_bytes"] == 8192 * MIB
        assert use["other_processes"] == 0
        seconds = [sample[0] for sample in use["samples"]]
        assert len(seconds) >= 5
        assert seconds == sorted(seconds)
        assert seconds[-1] >= 3 * 0.02
        assert [sample[1] for sample in use["samples"]] == [
            (1002 + i) * MIB for i in range(len(seconds))
        ]
        assert {sample[3] for sample in use["samples"]} == {500 * MIB}

    def test_own_process(self, library: Path) -> None:
        seen = watched(library, environment={"NVML_PROCESSES": "own"})
        assert {sample[2] for sample in seen["use"]["samples"]} == {600 * MIB}
        assert seen["use"]["other_processes"] == 1
        assert seen["beyond"] == 100 * MIB

    def test_pids_of_another_namespace(self, library: Path) -> None:
        """One of the two processes must be this one: it uses the device."""
        seen = watched(library, environment={"NVML_PROCESSES": "others"})
        assert {sample[2] for sample in seen["use"]["samples"]} == {None}
        assert seen["use"]["other_processes"] == 1
        assert seen["beyond"] is None

    @pytest.mark.parametrize("options", [{"uuid": "x", "bus": "00000000:65:00.0"}, {"uuid": "7"}])
    def test_other_ways_to_the_device(self, library: Path, options: dict[str, str]) -> None:
        seen = watched(library, environment={"NVML_UUID": "MIG-7"}, **options)
        assert seen["use"]["name"] == "Stand-in 8000"

    def test_bounded(self, library: Path) -> None:
        seen = watched(library, period_seconds=0.001, max_samples=8, samples=24)
        samples = seen["use"]["samples"]
        assert 4 <= len(samples) <= 9
        used = [sample[1] // MIB for sample in samples]
        assert used[0] == 1002  # the first of all
        assert used[-1] >= 1001 + 24  # and the last

    def test_lost_in_between(self, library: Path) -> None:
        """What was sampled before is kept, and the reason said."""
        seen = watched(library, environment={"NVML_LOST": "3"}, period_seconds=0.01)
        assert seen["missing"] == "NVML was not read: GPU is lost"
        assert len(seen["use"]["samples"]) == 2

    @pytest.mark.parametrize("attempt", range(3))
    def test_forks(self, library: Path, attempt: int) -> None:
        lines = run(FORKS, folder=library).splitlines()
        assert sorted(lines) == ["child False", "parent True"]

    def test_is_no_thread_that_others_must_wait_for(self, library: Path) -> None:
        """It holds no tensor, so tensors may be looked at while it takes a sample."""
        assert run(ALONE, folder=library) == "{True} set() True\n"
