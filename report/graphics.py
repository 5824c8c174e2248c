"""Bars and curves made of characters, with plain ones where stdout has no others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_BLOCKS = "▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"
_PLAIN_LEVELS = "_.-:=+*#"


def drawable(encoding: str) -> bool:
    """Whether an encoding has the block characters."""
    try:
        (_BLOCKS + _LEVELS).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def bar(share: float, width: int, *, plain: bool) -> str:
    """A bar for a share of 1, padded to `width` characters."""
    length = min(max(share, 0.0), 1.0) * width
    if plain:
        return ("#" * round(length)).ljust(width)
    eighths = round(length * 8)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (_BLOCKS[part - 1] if part else "")).ljust(width)


def curve(amounts: Sequence[int], most: int, width: int, *, plain: bool) -> str:
    """One character per amount, as high as it is of `most`; squeezed to `width` by maxima."""
    levels = _PLAIN_LEVELS if plain else _LEVELS
    top = len(levels) - 1
    squeezed = squeeze(amounts, width)
    return "".join(
        levels[min(top, amount * len(levels) // most) if most else 0] for amount in squeezed
    )


def area(amounts: Sequence[int], width: int, height: int, *, plain: bool) -> list[str]:
    """Lines from top to bottom, filled up to each amount; as `curve` otherwise."""
    levels = " " + (_PLAIN_LEVELS if plain else _LEVELS)
    steps = len(levels) - 1
    squeezed = squeeze(amounts, width)
    most = max(squeezed, default=0)
    heights = [-(-amount * height * steps // most) if most else 0 for amount in squeezed]
    return [
        "".join(levels[min(max(each - steps * line, 0), steps)] for each in heights)
        for line in reversed(range(height))
    ]


def spans(names: Sequence[tuple[str, float, float]], width: int, *, plain: bool) -> str:
    """A line with each name that fits in its stretch; stretches are in shares of the width."""
    edge = "|" if plain else "╵"
    line = [" "] * width
    for name, start, end in names:
        first, last = round(start * width), round(end * width)
        shown = edge + name if len(name) < last - first else edge
        line[first:last] = shown[: last - first].ljust(last - first)
    return "".join(line).rstrip()


def mark(place: float, label: str, width: int, *, plain: bool) -> str:
    """A line with an arrow to a place, in shares of the width, and a label beside it."""
    arrow = "^" if plain else "▲"
    position = min(int(place * width), width - 1)
    if position + len(label) + 2 <= width:
        return " " * position + f"{arrow} {label}"
    return f"{label} {arrow}".rjust(position + 1)


def squeeze(amounts: Sequence[int], width: int) -> list[int]:
    """At most `width` amounts: of neighbours the largest stays."""
    if len(amounts) <= width:
        return list(amounts)
    edges = [i * len(amounts) // width for i in range(width + 1)]
    return [max(amounts[a:b]) for a, b in pairwise(edges)]
