"""Payloads: compressed JSON documents, checked when they are written and again when they are read.

SQLite's own checks do not see a changed byte inside a value, so every payload has its sha256 in
the row. Documents are data only: nothing here can run code.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TypeVar, cast

import msgspec

from fastsa.errors import BadInput
from fastsa.records import profile_versions
from fastsa.records.profile import Profile

MAX_BYTES = 1 << 30  # of one document: a graph of a million ops is about 200 MB
LEVEL = 3  # level 9 saves another 12% of the bytes and takes four times as long

T = TypeVar("T")


class Damaged(Exception):
    """A payload that is not what was stored."""


def encode(document: msgspec.Struct) -> bytes:
    """`document` as JSON that is certain to be read back. Raises BadInput.

    msgspec writes NaN as null and takes integers of any size; reading back what was written
    shows such a value here, to whoever stores it, and not to a later job.
    """
    try:
        data = msgspec.json.encode(document)
        again = msgspec.json.decode(data, type=type(document))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _unstorable(document, str(error)) from error
    if again != document:  # NaN where a number may be missing
        raise _unstorable(document, "it would be read back as another one")
    if len(data) > MAX_BYTES:
        raise BadInput(
            f"this {type(document).__name__.lower()} cannot be stored: it has {len(data)} bytes",
            hint=f"the store takes documents of up to {MAX_BYTES} bytes",
        )
    return data


def _unstorable(document: msgspec.Struct, reason: str) -> BadInput:
    return BadInput(
        f"this {type(document).__name__.lower()} cannot be stored: {reason}",
        hint="numbers must be finite and text must be valid Unicode",
    )


def checksum(data: bytes) -> str:
    """sha256 (hex) of a document."""
    return hashlib.sha256(data).hexdigest()


def pack(data: bytes) -> bytes:
    """A document as the store holds it."""
    return zlib.compress(data, LEVEL)


def unpack(payload: bytes, expected: str, kind: type[T]) -> T:
    """The document in `payload`, whose checksum must be `expected`. Raises Damaged."""
    try:
        # Bounded: a damaged or hostile payload may claim to be arbitrarily large.
        data = zlib.decompressobj().decompress(payload, MAX_BYTES)
    except (zlib.error, TypeError) as error:
        raise Damaged(f"cannot be decompressed: {error}") from error
    if checksum(data) != expected:
        raise Damaged("its checksum is wrong")
    try:
        return _decode(data, kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Damaged(f"cannot be read: {error}") from error


def _decode(data: bytes, kind: type[T]) -> T:
    if kind is Profile:
        return cast("T", profile_versions.decode(data))
    return msgspec.json.decode(data, type=kind)
