"""Numbers and names as people read them."""

from __future__ import annotations

from pathlib import PurePath

from fastsa.planner.budget import format_bytes
from fastsa.planner.graph import Op

ID_CHARACTERS = 12

_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def of_bytes(size: int) -> str:
    """`1536` as `1.50 KiB`."""
    return format_bytes(size)


def of_seconds(seconds: float) -> str:
    """`0.0015` as `1.50 ms`."""
    if seconds == 0:
        return "0 s"
    scale, unit = next((each for each in _SECONDS if abs(seconds) >= each[0]), _SECONDS[-1])
    return f"{seconds / scale:.2f} {unit}"


def of_count(count: int) -> str:
    """`12345` as `12,345`."""
    return f"{count:,}"


def of_share(part: float, whole: float) -> str:
    """`part` in percent of `whole`, empty when there is no whole."""
    return f"{100 * part / whole:.1f}%" if whole else ""


def of_difference(measured: float, predicted: float) -> str:
    """How far `measured` is from `predicted`, in percent with its sign."""
    return f"{100 * (measured - predicted) / predicted:+.1f}%" if predicted else ""


def of_id(identifier: str) -> str:
    """The characters of an id that are shown."""
    return identifier.removeprefix("sha256:")[:ID_CHARACTERS]


def of_op(op: Op) -> str:
    """An op and its place in the code: `op 7: aten.mm.default, mm_1, blocks.1, train.py:3`."""
    known = (op.target, op.name, op.module, op.source)
    return printable(f"op {op.id}: " + ", ".join(part for part in known if part))


def of_source(source: str | None) -> str:
    """`/long/way/to/train.py:12` as `to/train.py:12`."""
    return str(PurePath(*PurePath(source).parts[-2:])) if source else ""


def of_target(target: str) -> str:
    """`aten.mm.default` as `mm`, where there is little room."""
    return target.removeprefix("aten.").removesuffix(".default")


def of_time(created: str) -> str:
    """An ISO 8601 time to the minute, in UTC like the original."""
    return created[:16].replace("T", " ")


def printable(text: str) -> str:
    """`text` without characters that could steer a terminal: names come from anywhere."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )
