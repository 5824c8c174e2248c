"""Metrics: Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fastsa.daemon.protocol import DaemonStatus

CONTENT_TYPE = "text/plain; version=0.0.4"


def exposition(status: DaemonStatus, lookups: Mapping[str, int], store_bytes: int) -> str:
    """What the daemon and its store have to tell."""
    return "\n".join(_lines(status, lookups, store_bytes)) + "\n"


def _lines(status: DaemonStatus, lookups: Mapping[str, int], store_bytes: int) -> Iterator[str]:
    yield from _metric(
        "fastsa_daemon_uptime_seconds",
        "gauge",
        "Since the daemon began.",
        [({}, status.uptime_seconds)],
    )
    yield from _metric(
        "fastsa_daemon_memory_bytes",
        "gauge",
        "Resident memory of the daemon.",
        [({}, status.memory_bytes)],
    )
    yield from _metric(
        "fastsa_daemon_working",
        "gauge",
        "1 while a plan is being made.",
        [({}, int(status.doing is not None))],
    )
    yield from _metric(
        "fastsa_store_bytes", "gauge", "Size of the store's file.", [({}, store_bytes)]
    )
    yield from _metric(
        "fastsa_requests",
        "gauge",
        "Requests for plans.",
        [
            (dict(zip(("kind", "state"), name.split("."), strict=True)), count)
            for name, count in sorted(status.requests.items())
        ],
    )
    yield from _metric(
        "fastsa_device_used_bytes",
        "gauge",
        "Memory in use on a device.",
        [({"device": str(each.index)}, each.used_bytes) for each in status.devices],
    )
    yield from _metric(
        "fastsa_device_total_bytes",
        "gauge",
        "Memory of a device.",
        [({"device": str(each.index)}, each.total_bytes) for each in status.devices],
    )
    yield from _metric(
        "fastsa_device_process_bytes",
        "gauge",
        "Memory that a process holds on a device.",
        [
            ({"device": str(each.index), "pid": str(pid)}, held)
            for each in status.devices
            for pid, held in each.processes.items()
            if held >= 0
        ],
    )
    yield from _metric(
        "fastsa_store_events_total",
        "counter",
        "Lookups and their misses, and what was damaged.",
        [({"event": name}, count) for name, count in sorted(lookups.items())],
    )


def _metric(
    name: str, kind: str, about: str, samples: Iterable[tuple[Mapping[str, str], float]]
) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        named = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{name}{{{named}}} {value}" if named else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
