"""Client: asks a store's daemon, or finds quickly that it cannot be asked."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from fastsa.daemon import protocol
from fastsa.daemon.place import is_private, place_of
from fastsa.daemon.protocol import HEADER, Answer, Question

SECONDS = 2.0  # a job waits no longer, whatever the daemon does


def ask(store: Path, what: Question, seconds: float = SECONDS) -> Answer | None:
    """The daemon's answer; None if there is no daemon, or none that answers in time.

    Raises nothing.
    """
    place = place_of(store)
    if not is_private(place.socket.parent):
        return None  # whoever listens there may be anybody
    deadline = time.monotonic() + seconds
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(str(place.socket))
            connection.sendall(protocol.encode(what))
            size = protocol.length(_received(connection, HEADER.size, deadline))
            return protocol.answer(_received(connection, size, deadline))
    except (OSError, protocol.Unreadable):
        return None


def _received(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = b""
    while len(data) < size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError
        data += part
    return data
