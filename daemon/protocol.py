"""Protocol: what the daemon and those who ask it say to each other.

One message each way on a connection: its length in four bytes, the most significant first, then
JSON of `{"version": 2, "body": {"type": ..., ...}}`. Plans and graphs go through the store, so no
message is long. A version or type that is not known is answered with an error.
"""

from __future__ import annotations

import struct
from typing import TypeVar

import msgspec

from fastsa.cache.keys import PlanKey
from fastsa.instrumentation.nvml import Device

VERSION = 2
MAX_BYTES = 64 * 1024
HEADER = struct.Struct(">I")


class Improve(msgspec.Struct, tag="improve", frozen=True, forbid_unknown_fields=True):
    """A job has made a plan in little time. `step_budget_bytes` are the step's own."""

    key: PlanKey
    step_budget_bytes: int


class Yield(msgspec.Struct, tag="yield", frozen=True, forbid_unknown_fields=True):
    """A job plans for so many seconds: leave it the cores."""

    seconds: float


class AskStatus(msgspec.Struct, tag="status", frozen=True, forbid_unknown_fields=True):
    """How is it?"""


class AskMetrics(msgspec.Struct, tag="metrics", frozen=True, forbid_unknown_fields=True):
    """The metrics as Prometheus' text."""


class Stop(msgspec.Struct, tag="stop", frozen=True, forbid_unknown_fields=True):
    """Stop, keeping what is made so far."""


class Done(msgspec.Struct, tag="done", frozen=True):
    """It is done, or will be."""


class DaemonStatus(msgspec.Struct, tag="is", frozen=True):
    """A daemon that runs. `requests`: how many, by kind and state; `doing`: what is planned now.

    `devices`: as NVML tells of them; none where it cannot be read.
    """

    process: int
    store: str
    fastsa: str
    uptime_seconds: float
    memory_bytes: int
    requests: dict[str, int]
    doing: str | None = None
    trouble: str | None = None
    devices: tuple[Device, ...] = ()


class Text(msgspec.Struct, tag="text", frozen=True):
    """Text."""

    text: str


class Refused(msgspec.Struct, tag="refused", frozen=True):
    """Not done, and why."""

    reason: str


Question = Improve | Yield | AskStatus | AskMetrics | Stop
Answer = Done | DaemonStatus | Text | Refused


class Unreadable(Exception):
    """A message that cannot be understood; its text says why."""


class _Envelope(msgspec.Struct, frozen=True):
    version: int
    body: msgspec.Raw


def encode(body: Question | Answer) -> bytes:
    """A message with its length."""
    data = msgspec.json.encode({"version": VERSION, "body": body})
    return HEADER.pack(len(data)) + data


def length(header: bytes) -> int:
    """The length of the message that follows, in bytes. Raises Unreadable."""
    (size,) = HEADER.unpack(header)
    if not 0 < size <= MAX_BYTES:
        raise Unreadable(f"a message of {size} bytes; at most {MAX_BYTES} are read")
    return int(size)


def question(data: bytes) -> Question:
    """What is asked. Raises Unreadable."""
    return _decoded(data, _QUESTIONS)


def answer(data: bytes) -> Answer:
    """What is answered. Raises Unreadable."""
    return _decoded(data, _ANSWERS)


T = TypeVar("T")
_QUESTIONS: msgspec.json.Decoder[Question] = msgspec.json.Decoder(Question)
_ANSWERS: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


def _decoded(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
        if envelope.version != VERSION:
            raise Unreadable(f"version {envelope.version} is not spoken here, {VERSION} is")
        return decoder.decode(envelope.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Unreadable(str(error)) from error
