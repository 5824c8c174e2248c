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


def squeeze(amounts: Sequence[int], width: int) -> list[int]:
    """At most `width` amounts: of neighbours the largest stays."""
    if len(amounts) <= width:
        return list(amounts)
    edges = [i * len(amounts) // width for i in range(width + 1)]
    return [max(amounts[a:b]) for a, b in pairwise(edges)]
