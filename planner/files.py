"""Reading and writing the JSON documents of FORMATS: bounded, typed, never half written."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import TypeVar

import msgspec

from fastsa.errors import BadInput, FastsaError

MAX_BYTES = 1 << 30  # a graph of a million ops is about 200 MB

T = TypeVar("T")


def read(path: Path) -> bytes:
    """The (decompressed) bytes of a `.json` or `.json.gz` file. Raises BadInput."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
            if path.suffix == ".gz":
                file.seek(0)
                with gzip.GzipFile(fileobj=file) as unzipped:
                    data = unzipped.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{path}: cannot be read: {reason}", hint="check the path") from error
    if len(data) > MAX_BYTES:
        raise BadInput(f"{path}: larger than {MAX_BYTES} bytes", hint="this is no graph or plan")
    return data


def decode(data: bytes, kind: type[T], where: str) -> T:
    """Parse and type-check one document. Raises BadInput naming place and reason."""
    hint = "see the formats in docs/formats.md"
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError as error:
        raise BadInput(f"{where}: nested too deep", hint=hint) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{where}: {error}", hint=hint) from error


def write(path: Path, data: bytes) -> None:
    """Write a document whole or not at all, compressed if `path` ends in `.gz`.

    What is there and no file, a device or a pipe, is written to, not replaced.
    """
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> FastsaError:
    return FastsaError(
        f"{path}: cannot be written: {error.strerror}", hint="check the folder and the disk"
    )
