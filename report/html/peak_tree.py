"""The blocks at the peak as a tree of modules, for a treemap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

import msgspec

from fastsa.report.at_peak import Block

_SMALLEST = 0.003  # of the whole: smaller parts of a module are one tile
_DEEPEST = 8

Path = tuple[str, ...]


class Tile(msgspec.Struct, frozen=True):
    """A module or, as `category`, what a module itself holds of one; a parent is a position.

    A module's bytes are the sum of its tiles', `mostly` of the category `mostly`. The first tile,
    the whole, has no parent.
    """

    label: str
    parent: int | None
    bytes: int
    blocks: int
    mostly: str
    category: str | None = None
    module: str | None = None


def of(blocks: Iterable[Block]) -> tuple[Tile, ...]:
    """The tree: module paths split at their dots, with what is known of no module at the top."""
    members = defaultdict[Path, list[Block]](list)
    for each in blocks:
        members[tuple(each.module.split(".")) if each.module else ()].append(each)
    whole = [each for held in members.values() for each in held]
    tiles: list[Tile] = [_tile("everything", None, whole)]
    _grow(tiles, 0, (), members, _SMALLEST * tiles[0].bytes)
    return tuple(tiles)


def _grow(
    tiles: list[Tile], parent: int, path: Path, members: dict[Path, list[Block]], least: float
) -> None:
    """Add the tiles of the module at `path`: its parts, then its own blocks by category."""
    own = list(members.get(path, ()))
    depth = len(path)
    parts = defaultdict[Path, dict[Path, list[Block]]](dict)
    for key, held in members.items():
        if len(key) > depth:
            parts[key[: depth + 1]][key] = held
    for part, inside in parts.items():
        held = [each for every in inside.values() for each in every]
        if _bytes(held) < least or depth >= _DEEPEST:
            own += held
            continue
        deeper = _common(inside) if len(inside) > 1 else next(iter(inside))
        module = ".".join(deeper)
        label = ".".join(deeper[len(part) - 1 :])
        tiles.append(_tile(label, parent, held, module=module))
        _grow(tiles, len(tiles) - 1, deeper, inside, least)
    tiles += _by_category(own, parent, ".".join(path) or None)


def _common(paths: Iterable[Path]) -> Path:
    """The longest beginning that all have."""
    columns = zip(*paths, strict=False)
    return tuple(column[0] for column in takewhile(lambda names: len(set(names)) == 1, columns))


def _by_category(blocks: Iterable[Block], parent: int, module: str | None) -> Iterator[Tile]:
    members = defaultdict[str, list[Block]](list)
    for each in blocks:
        members[each.category].append(each)
    for category, held in members.items():
        yield _tile(category, parent, held, category, module)


def _tile(
    label: str,
    parent: int | None,
    blocks: Sequence[Block],
    category: str | None = None,
    module: str | None = None,
) -> Tile:
    sizes = dict.fromkeys([*(each.category for each in blocks), "other"], 0)
    for each in blocks:
        sizes[each.category] += each.bytes
    mostly = max(sizes, key=lambda name: sizes[name])
    return Tile(label, parent, _bytes(blocks), len(blocks), mostly, category, module)


def _bytes(blocks: Iterable[Block]) -> int:
    return sum(each.bytes for each in blocks)
