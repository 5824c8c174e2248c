"""`fastsa doctor`: is this machine fit for fastsa?"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import click
import msgspec

from fastsa import config
from fastsa.cache import location, schema
from fastsa.cache import remote_session as sharing
from fastsa.daemon import client, protocol
from fastsa.daemon.place import LONGEST_PATH, RUNTIME, is_private, own_place, place_of
from fastsa.errors import FastsaError, StoreUnusable
from fastsa.instrumentation import nvml
from fastsa.planner.budget import format_bytes
from fastsa.version import __version__

SHORTER = f"Set {RUNTIME} to a shorter folder of yours."
REMOTE_SECONDS = 10.0
LITTLE_BYTES = 1 << 30
TORCH = ((2, 11), (2, 14))  # from, and before
EXTRAS = {
    "pynvml": "fastsa[nvml]: `auto` budgets know other processes on the GPU",
    "cupy": "fastsa[cuda13]: CuPy's memory is counted",
    "matplotlib": "fastsa[plots]: pictures of curves and comparisons",
    "plotly": "fastsa[plots]: reports in a browser",
    "ortools": "fastsa[baselines]: the baselines of `fastsa compare`",
}


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and what to do about it."""

    about: str
    state: Literal["ok", "note", "problem"]
    text: str
    advice: str | None = None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> int:
    """Diagnose this machine: torch, GPU, store, disk and daemon. Changes nothing.

    Exits with 1 if there is a problem.
    """
    findings = [each for check in _CHECKS for each in _safely(check)]
    if as_json:
        click.echo(msgspec.json.encode({"findings": findings}))
    else:
        for each in findings:
            click.echo(f"{each.state:8}{each.about:9} {each.text}")
            if each.advice:
                click.echo(f"{'':18}{each.advice}")
    return int(any(each.state == "problem" for each in findings))


def _safely(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    about = check.__name__.strip("_")
    try:
        return list(check())
    except FastsaError as error:
        advice = f"{error.hint[:1].upper()}{error.hint[1:]}."
        return [Finding(about, "problem", error.message, advice)]
    except Exception as error:  # noqa: BLE001  what breaks here is what the doctor is asked about
        return [Finding(about, "problem", f"{type(error).__name__}: {error}")]


def _fastsa() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("fastsa", "ok", f"{__version__}, Python {version}")
    try:
        from fastsa.planner import _core  # noqa: F401
    except ImportError as error:
        yield Finding("core", "problem", f"it does not load: {error}", "Install fastsa again.")
    else:
        yield Finding("core", "ok", "the planner's core loads")


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", "problem", f"it does not load: {error}", "Install torch.")
        return
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if TORCH[0] <= version < TORCH[1]:
        yield Finding("torch", "ok", str(torch.__version__))
    else:
        yield Finding(
            "torch",
            "problem",
            f"{torch.__version__} is not supported",
            f"Install {TORCH[0][0]}.{TORCH[0][1]} to {TORCH[1][0]}.{TORCH[1][1] - 1}.",
        )
    if not torch.cuda.is_available():
        yield from _no_gpu(torch.version.cuda)
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        sizes = f"{format_bytes(free)} of {format_bytes(total)} free"
        yield Finding("gpu", "ok", f"{index}: {name}, {sizes}")


def _no_gpu(cuda: str | None) -> Iterator[Finding]:
    """Why torch sees no GPU: its build, the driver, or the machine."""
    if cuda is None:
        yield Finding("gpu", "note", "this torch is built for CPUs: sizes are of their memory")
        return
    driver, why = nvml.driver()
    if driver is None:
        yield Finding("gpu", "problem", f"torch is built for CUDA {cuda}, and {why}")
    else:
        yield Finding(
            "gpu",
            "problem",
            f"torch is built for CUDA {cuda}, and cannot use driver {driver}",
            "Update the driver, or see that CUDA_VISIBLE_DEVICES names a GPU.",
        )


def _extras() -> Iterator[Finding]:
    missing = [about for name, about in EXTRAS.items() if importlib.util.find_spec(name) is None]
    for about in missing:
        yield Finding("extras", "note", f"not installed: {about}")
    if not missing:
        yield Finding("extras", "ok", "all are installed")


def _store() -> Iterator[Finding]:
    path = location.default_path()
    place = next(each for each in (path, *path.parents) if each.exists())
    free = shutil.disk_usage(place).free
    if free < LITTLE_BYTES:
        yield Finding(
            "disk", "problem", f"{format_bytes(free)} free at {place}", "Free some, or move it."
        )
    else:
        yield Finding("disk", "ok", f"{format_bytes(free)} free at {place}")
    if location.on_network(path):
        yield Finding(
            "disk",
            "note",
            f"{location.file_system(path)}: several hosts share it, so the store is slower",
            f"Set {location.ENVIRONMENT_VARIABLE} to a file on a local disk.",
        )
    if not path.exists():
        yield from _future(path, place)
        return
    yield from _access(path)
    yield from _content(path)


def _future(path: Path, place: Path) -> Iterator[Finding]:
    if os.access(place, os.W_OK | os.X_OK):
        yield Finding("store", "ok", f"{path} will be made")
    else:
        yield Finding(
            "store",
            "problem",
            f"{path} cannot be made: {place} is not writable",
            f"Set {location.ENVIRONMENT_VARIABLE} to a file you can write.",
        )


def _access(path: Path) -> Iterator[Finding]:
    found = path.stat()
    location.check_owner(path, found)
    if stat.S_IMODE(found.st_mode) & stat.S_IWGRP:
        yield Finding("store", "note", f"your group may write {path}", f"chmod 600 {path}")
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        yield Finding("store", "problem", f"{path} cannot be written", "Check it and its folder.")


def _content(path: Path) -> Iterator[Finding]:
    # Of a file that nobody has open, SQLite would make the log anew to read it.
    still = "" if Path(f"{path}-wal").exists() else "&immutable=1"
    uri = f"{path.as_uri()}?mode=ro{still}"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        try:
            is_current = schema.is_current(connection, str(path))
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            flaw = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            journal = _journal(path)
        except sqlite3.DatabaseError as error:
            raise StoreUnusable(
                f"{path}: {error}", hint="The next job sets it aside and begins a fresh one."
            ) from error
    if flaw != "ok":
        yield Finding("store", "problem", f"{path}: {flaw}", "See 'fastsa store check'.")
    elif is_current:
        size = format_bytes(path.stat().st_size)
        yield Finding("store", "ok", f"{path}, {size}, journal {journal}")
    else:
        yield Finding("store", "note", f"{path}: schema {version} is brought up to date when used")


def _journal(path: Path) -> str:
    """How the file is written: byte 18 of its header (sqlite.org/fileformat2.html)."""
    with path.open("rb") as file:
        header = file.read(19)
    return "of writes ahead (WAL)" if header[18:] == b"\2" else "rolled back"


def _runtime() -> Iterator[Finding]:
    """Where the daemon's socket is, or would be."""
    socket = own_place(location.default_path()).socket
    folder = socket.parent
    if len(os.fsencode(socket)) > LONGEST_PATH:
        yield Finding("runtime", "problem", f"{socket} is too long for a socket", SHORTER)
    elif folder.exists() and not is_private(folder):
        yield Finding("runtime", "problem", f"others may enter {folder}", f"chmod 700 {folder}")
    elif not os.environ.get(RUNTIME):
        yield Finding("runtime", "note", f"{RUNTIME} is not set: sockets are in {folder}")


def _config() -> Iterator[Finding]:
    chosen = [name for name, value in config.effective().items() if value.is_set]
    yield Finding("config", "ok", f"set: {', '.join(chosen)}" if chosen else "nothing is set")


def _remote() -> Iterator[Finding]:
    url = config.user_value("remote").value
    if url is None:
        return
    from fastsa.cache.remote import Remote, Unreachable, shown
    from fastsa.cache.remote_plans import PLANS

    remote = Remote(url, REMOTE_SECONDS)
    started = time.monotonic()
    try:
        plans = len(remote.folders(PLANS))
    except Unreachable as error:
        yield Finding("remote", "problem", error.message, "Check FASTSA_REMOTE and the network.")
        return
    seconds = time.monotonic() - started
    yield Finding("remote", "ok", f"{shown(url)}: plans for {plans} graphs, in {seconds:.2f} s")
    if seconds > sharing.SECONDS:
        yield Finding("remote", "note", f"jobs wait {sharing.SECONDS:g} s: too short for it")


def _daemon() -> Iterator[Finding]:
    path = location.default_path()
    answer = client.ask(path, protocol.AskStatus())
    if isinstance(answer, protocol.DaemonStatus):
        yield Finding("daemon", "ok", f"process {answer.process} of fastsa {answer.fastsa}")
        if answer.trouble:
            yield Finding("daemon", "problem", answer.trouble)
    elif place_of(path).is_taken():
        advice = "See 'fastsa daemon logs'."
        yield Finding("daemon", "problem", "it runs and does not answer", advice)
    else:
        yield Finding("daemon", "note", "none runs: nothing improves plans in the background")


_CHECKS = (_fastsa, _torch, _extras, _config, _store, _remote, _runtime, _daemon)
