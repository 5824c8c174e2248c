"""Axes with the units people use: plotly knows only powers of ten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_MOST_TICKS = 6
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def of_bytes(most: int, least: int = 0) -> dict[str, Any]:
    """The ticks of an axis from `least` to `most` bytes, in binary steps."""
    step = 1 << max(0, math.ceil(math.log2(max(most - least, 1) / _MOST_TICKS)))
    values = range(least // step * step, most + step, step)
    return {
        "tickvals": list(values),
        "ticktext": [tick(value) for value in values],
    }


def tick(size: int) -> str:
    """A round size: `64 MiB`, `1.5 GiB`."""
    unit = min(max(size.bit_length() - 1, 0) // 10, len(_BYTES) - 1)
    return f"{size / (1 << 10 * unit):g} {_BYTES[unit]}"


def unit_of_seconds(most: float) -> tuple[float, str]:
    """The seconds of the largest unit in which `most` is at least 1, and its name."""
    return next((each for each in _SECONDS if most >= each[0]), _SECONDS[-1])


def scaled(seconds: Sequence[float], unit: float) -> list[float]:
    """Seconds in a unit, without digits that nobody sees."""
    return [float(f"{each / unit:.7g}") for each in seconds]
