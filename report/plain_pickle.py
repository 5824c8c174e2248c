"""A pickle of plain data, written piece by piece, for programs that read nothing else.

Only what PyTorch's memory viewer knows of protocol 4 is used: dicts, lists, strings, None and
integers of at most 8 bytes (its source: torch/utils/viz/MemoryViz.js). Nothing here is, or can
become, an object with code.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import TypeVar

from fastsa.errors import BadInput

START = b"\x80\x04"
STOP = b"."
BATCH = 1000  # the viewer appends a batch by one call, and calls take so many arguments only

Plain = None | int | str | list["Plain"] | dict[str, "Plain"]
T = TypeVar("T")


class PlainPickle:
    """Encodes values in the order of the stream; what is written again refers to the first time."""

    def __init__(self) -> None:
        self._memo: dict[Hashable, bytes] = {}

    def value(self, value: Plain) -> bytes:
        """Any value. Raises BadInput for an integer that needs more than 8 bytes."""
        match value:
            case str():
                return self._memo.get(value) or self._remembered(value, _text(value))
            case None:
                return b"N"
            case bool():
                return b"\x88" if value else b"\x89"
            case int():
                return integer(value)
            case list():
                return b"](" + b"".join(map(self.value, value)) + b"e"
            case dict():
                items = (self.value(k) + self.value(v) for k, v in value.items())
                return b"}(" + b"".join(items) + b"u"

    def shared(self, key: Hashable, value: Plain) -> bytes:
        """A value that is written once; `key` stands for it from then on."""
        return self._memo.get(key) or self._remembered(key, self.value(value))

    def _remembered(self, key: Hashable, data: bytes) -> bytes:
        number = len(self._memo)
        short = number < 256
        self._memo[key] = b"h" + bytes((number,)) if short else b"j" + number.to_bytes(4, "little")
        return data + b"\x94"


def listed(items: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a list whose items are encoded already."""
    yield b"]"
    for batch in _batches(items):
        yield b"(" + b"".join(batch) + b"e"


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    batch: list[T] = []
    for each in items:
        batch.append(each)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    if len(data) < 256:
        return b"\x8c" + bytes((len(data),)) + data
    return b"X" + len(data).to_bytes(4, "little") + data


def integer(number: int) -> bytes:
    """An integer. Raises BadInput if it takes more than 8 bytes."""
    if 0 <= number < 1 << 8:
        return b"K" + bytes((number,))
    if 0 <= number < 1 << 16:
        return b"M" + number.to_bytes(2, "little")
    if -(1 << 31) <= number < 1 << 31:
        return b"J" + number.to_bytes(4, "little", signed=True)
    size = number.bit_length() // 8 + 1
    if size > 8:
        raise BadInput(f"{number} takes more than 8 bytes", hint="export it in another format")
    return b"\x8a" + bytes((size,)) + number.to_bytes(size, "little", signed=True)
