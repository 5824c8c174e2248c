"""Rank store: what the processes of one job let each other know.

It is kept in the store of the default process group. That needs no collective, so whatever the
ranks do, nothing of ours can come between the script's own collectives. Source:
torch.distributed.Store.
"""

from __future__ import annotations

import itertools
import time

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store, _get_default_store

PART_BYTES = 2**20  # the store's server hangs up on whoever sends it more than 8 MiB at once
SHORTEST, LONGEST = 0.001, 0.1  # seconds between two looks

_kept: set[dist.ProcessGroup] = set()
"""Gloo groups, never let go. One that is freed while its thread drops its last work waits for
that thread with the GIL held, and the thread for the GIL, which it needs as soon as Inductor is
imported (objects in the thread's local state). Seen with torch 2.13 at the end of a DDP script.
"""


class RankStore:
    """Notes by name, seen by all ranks of the default process group, kept as long as it is.

    A note is put once and never changed. All methods raise RuntimeError (torch's DistError) if
    the store cannot be reached.
    """

    def __init__(self, store: Store, name: str, *, rank: int, ranks: int) -> None:
        self._store = PrefixStore(f"fastsa/{name}", store)
        self.rank = rank
        self.ranks = ranks

    def put(self, name: str, content: bytes) -> None:
        """Put up a note, of any size."""
        parts = [content[i : i + PART_BYTES] for i in range(0, len(content), PART_BYTES)]
        for i, part in enumerate(parts):
            self._store.set(f"{name}/part {i}", part)  # type: ignore[arg-type]  # bytes will do
        self._store.set(name, str(len(parts)))  # last: whoever sees it can read all parts

    def read(self, name: str) -> bytes:
        """A note that is there."""
        parts = range(int(self._store.get(name)))
        return b"".join(self._store.get(f"{name}/part {i}") for i in parts)

    def has(self, name: str) -> bool:
        """Whether a note is there."""
        return self._store.check([name])

    def claim(self, name: str, content: str) -> str:
        """Put up a short note unless another rank was first; what is there now."""
        return self._store.compare_set(name, "", content).decode()

    def count(self, name: str) -> int:
        """Add one to a number, and say what it is now."""
        return self._store.add(name, 1)

    def wait(self, *names: str, seconds: float) -> str | None:
        """The first of the notes to be there, None if none is after `seconds`.

        Looks again and again: a wait of the store's own would not let Ctrl-C through, and would
        keep the store from the process group's watchdog.
        """
        deadline = time.monotonic() + seconds
        for look in itertools.count():
            for name in names:
                if self.has(name):
                    return name
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(left, LONGEST, SHORTEST * 2**look))
        return None


def find_rank_store(name: str) -> RankStore | None:
    """The store called `name`, None in a process that trains alone.

    Raises RuntimeError if the process group has no store.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return None
    if dist.get_backend() == "fake":  # one process that stands for many
        return None
    store: Store | None = _get_default_store()
    if store is None:
        raise RuntimeError("the process group has no store (MPI has none)")
    if dist.group.WORLD is not None and "gloo" in dist.get_backend_config():
        _kept.add(dist.group.WORLD)
    return RankStore(store, name, rank=dist.get_rank(), ranks=dist.get_world_size())
