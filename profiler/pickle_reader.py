"""Reads pickles of other programs as data. Knows nothing of torch.

A pickle is a program for a small machine, which can call whatever Python can import. Here nothing
can be imported, so nothing can be called: what is left are dicts, lists, tuples, strings, bytes
and numbers. A few bytes may ask for any amount of memory, so that is bounded, too.
"""

from __future__ import annotations

import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

from fastsa.errors import BadInput

MAX_BYTES = 4 << 30
SPARE_BYTES = 1 << 30
BYTES_PER_BYTE = 24  # of memory for one of the file: a snapshot takes 5 to 12

# What the machine raises for a program that makes no sense (pickle's documentation has no list).
_BROKEN = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OverflowError,
    TypeError,
    ValueError,
)


class _DataOnly(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        raise _Refused(f"{module_name}.{global_name}")

    def persistent_load(self, pid: object) -> NoReturn:
        raise _Refused("a persistent id")


class _Refused(Exception):
    """The pickle names something of a program."""


def read(path: Path) -> object:
    """The data in a pickle. Raises BadInput, in particular for one that names any function."""
    hint = "give a file of torch.cuda.memory._dump_snapshot"
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise BadInput(f"{path}: larger than {MAX_BYTES} bytes", hint="record less")
            with _bounded_memory(SPARE_BYTES + BYTES_PER_BYTE * size):
                return _load(file)
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read: {error.strerror}", hint="check the path"
        ) from error
    except _Refused as error:
        raise BadInput(
            f"{path}: refused, it is not only data: it asks for {error}", hint=hint
        ) from error
    except (MemoryError, RecursionError) as error:
        raise BadInput(
            f"{path}: takes far more memory than its size explains", hint=hint
        ) from error
    except _BROKEN as error:
        raise BadInput(f"{path}: no whole pickle: {error}", hint=hint) from error


def _load(file: IO[bytes]) -> object:
    return _DataOnly(file).load()


@contextmanager
def _bounded_memory(more: int) -> Iterator[None]:
    """Let this process grow by `more` bytes; beyond that there is a MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    wanted = pages * resource.getpagesize() + more
    bounds = [each for each in (wanted, soft, hard) if each != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
