"""`fastsa daemon`: plans in the background."""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import shlex
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import click
import msgspec

from fastsa.cache import location
from fastsa.cache.store import Store
from fastsa.cli.store_option import store_option
from fastsa.daemon import client, protocol
from fastsa.daemon.place import Place, place_of
from fastsa.errors import BadInput, FastsaError
from fastsa.planner import budget
from fastsa.planner.budget import format_bytes

START_SECONDS = 10.0
STOP_SECONDS = 15.0
LOG_BYTES, LOG_FILES = 1 << 20, 3

_THREADS = click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Threads to plan with, at the lowest priority.",
)
_SECONDS = click.option(
    "--search-time",
    "seconds",
    type=click.FloatRange(0.1),
    default=60.0,
    show_default=True,
    help="Seconds to plan for, per plan.",
)
_MEMORY = click.option(
    "--memory",
    default="4GiB",
    show_default=True,
    help="Limit on the address space of the planning process.",
)
_METRICS = click.option(
    "--metrics-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for Prometheus metrics (node_exporter's textfile collector).",
)
_ONLY_ASKED = click.option(
    "--only-asked", is_flag=True, help="Improve only plans that a job has asked for."
)


@click.group()
def command() -> None:
    """Make and improve plans in the background. No job needs it, and none waits for it."""


@command.command()
@store_option("path")
@_SECONDS
@_THREADS
@_MEMORY
@_METRICS
@_ONLY_ASKED
@click.option("--log", type=click.Path(path_type=Path), help="Log file, instead of stderr.")
def run(
    path: Path | None,
    seconds: float,
    threads: int,
    memory: str,
    metrics_file: Path | None,
    only_asked: bool,
    log: Path | None,
) -> None:
    """Run the daemon in the foreground, until Ctrl-C or SIGTERM."""
    from fastsa.daemon.server import Server

    _log_to(log)
    with Store.open(path) as store:
        server = Server(
            store,
            seconds=seconds,
            threads=threads,
            memory_bytes=_bytes(memory),
            only_asked=only_asked,
        )
        asyncio.run(server.run(metrics_file))


def _log_to(file: Path | None) -> None:
    handler: logging.Handler = logging.StreamHandler()
    if file is not None:
        handler = logging.handlers.RotatingFileHandler(
            file, maxBytes=LOG_BYTES, backupCount=LOG_FILES
        )
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=[handler]
    )


def _bytes(text: str) -> int:
    parsed = budget.parse(text)
    if parsed.kind != "bytes":
        raise BadInput(f"{text!r} is no size", hint="give bytes: 4GiB")
    return int(parsed.amount)


@command.command()
@store_option("path")
@_SECONDS
@_THREADS
@_MEMORY
@_METRICS
@_ONLY_ASKED
def start(
    path: Path | None,
    seconds: float,
    threads: int,
    memory: str,
    metrics_file: Path | None,
    only_asked: bool,
) -> None:
    """Start the daemon and return."""
    with Store.open(path) as store:  # an unusable one is better known now
        place_path = store.path
    place = place_of(place_path)
    if place.is_taken():
        click.echo("The daemon runs already.")
        return
    words = [sys.executable, "-m", "fastsa", "daemon", "run", "--store", str(place_path)]
    words += ["--search-time", str(seconds), "--threads", str(threads)]
    words += ["--memory", str(_bytes(memory)), "--log", str(place.log)]
    words += ["--only-asked"] * only_asked
    if metrics_file is not None:
        words += ["--metrics-file", str(location.absolute(metrics_file))]
    process: subprocess.Popen[str] = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
        text=True,
    )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        status = client.ask(place_path, protocol.AskStatus())
        if isinstance(status, protocol.DaemonStatus):
            click.echo(f"The daemon runs: process {status.process}, log {place.log}")
            return
        if process.poll() is not None:
            said = process.stderr.read().strip() if process.stderr else ""
            raise FastsaError(f"the daemon did not start: {said}", hint=f"see {place.log}")
        time.sleep(0.05)
    process.terminate()
    raise FastsaError("the daemon did not answer", hint=f"see {place.log}")


@command.command()
@store_option("path")
def stop(path: Path | None) -> int:
    """Stop the daemon. The best plans so far are kept."""
    store = _store(path)
    place = place_of(store)
    if not place.is_taken():
        click.echo("No daemon runs.")
        return 0
    if client.ask(store, protocol.Stop()) is None:
        raise FastsaError("the daemon does not answer", hint=f"see {place.log}, or kill it")
    deadline = time.monotonic() + STOP_SECONDS
    while place.is_taken():
        if time.monotonic() > deadline:
            raise FastsaError("the daemon does not stop", hint=f"see {place.log}, or kill it")
        time.sleep(0.05)
    click.echo("Stopped.")
    return 0


@command.command()
@store_option("path")
@click.option("--metrics", is_flag=True, help="Print metrics in the Prometheus text format.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(path: Path | None, metrics: bool, as_json: bool) -> int:
    """Show the state of the daemon. Exits with 1 if none runs, or it does not answer."""
    store = _store(path)
    answer = client.ask(store, protocol.AskMetrics() if metrics else protocol.AskStatus())
    if isinstance(answer, protocol.Text):
        click.echo(answer.text, nl=False)
        return 0
    if as_json:
        click.echo(
            msgspec.json.encode(answer if isinstance(answer, protocol.DaemonStatus) else None)
        )
    elif isinstance(answer, protocol.DaemonStatus):
        _tell(answer, place_of(store))
    elif isinstance(answer, protocol.Refused):
        click.echo(f"The daemon refuses: {answer.reason}")
    elif place_of(store).is_taken():
        click.echo("The daemon runs and does not answer.")
    else:
        click.echo(f"No daemon runs for {store}. 'fastsa daemon start' starts one.")
    return 0 if isinstance(answer, protocol.DaemonStatus) else 1


def _tell(status: protocol.DaemonStatus, place: Place) -> None:
    click.echo(f"daemon {status.process} of fastsa {status.fastsa}")
    click.echo(f"  store     {status.store}")
    click.echo(f"  log       {place.log}")
    click.echo(f"  for       {status.uptime_seconds:.0f} s")
    click.echo(f"  memory    {format_bytes(status.memory_bytes)}")
    click.echo(f"  doing     {status.doing or 'nothing'}")
    counts = ", ".join(f"{count} {name}" for name, count in sorted(status.requests.items()))
    click.echo(f"  requests  {counts or 'none'}")
    for device in status.devices:
        held = f"{format_bytes(device.used_bytes)} of {format_bytes(device.total_bytes)} in use"
        click.echo(f"  device {device.index}  {device.name}, {held}")
    if status.trouble:
        click.echo(f"  trouble   {status.trouble}")


@command.command()
@store_option("path")
@click.option(
    "-n", "lines", type=click.IntRange(1), default=20, show_default=True, help="Number of lines."
)
def logs(path: Path | None, lines: int) -> None:
    """Print the last lines of the log of a daemon started by `start`."""
    place = place_of(_store(path))
    try:
        with place.log.open(encoding="utf-8", errors="replace") as file:
            last = deque(file, maxlen=lines)
    except FileNotFoundError:
        raise BadInput(
            f"{place.log}: there is none", hint="'fastsa daemon start' begins one"
        ) from None
    click.echo("".join(last), nl=False)


@command.command()
@store_option("path")
def unit(path: Path | None) -> None:
    """Print a systemd user unit for the daemon.

    \b
    fastsa daemon unit > ~/.config/systemd/user/fastsa.service
    systemctl --user enable --now fastsa
    """
    words = [sys.executable, "-m", "fastsa", "daemon", "run", "--store", str(_store(path))]
    line = shlex.join(words).replace("%", "%%")
    click.echo(
        "[Unit]\n"
        "Description=fastsa plans in the background\n"
        "\n"
        "[Service]\n"
        f"ExecStart={line}\n"
        "Restart=on-failure\n"
        "Nice=19\n"
        "NoNewPrivileges=true\n"
        "\n"
        "[Install]\n"
        "WantedBy=default.target"
    )


def _store(path: Path | None) -> Path:
    return location.default_path() if path is None else location.absolute(path)
