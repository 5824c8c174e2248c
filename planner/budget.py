"""Memory budgets as people write them: `40GiB`, `16GB`, `1_000_000`, `50%`, `auto`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal

import msgspec

from fastsa.errors import BadInput
from fastsa.planner.graph import INT64_MAX

Kind = Literal["bytes", "percent", "auto"]

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_TEXT = re.compile(
    r"(?P<number>\d{1,30}(?:_\d{1,30}){0,10}(?:\.\d{1,30})?)\s{0,4}(?P<unit>%|[a-zA-Z]{0,3})",
    re.ASCII,
)
_HINT = "a budget is a size (40GiB, 16GB, 1_000_000), a share of the unplanned peak (50%), or auto"


class Budget(msgspec.Struct, frozen=True):
    """A parsed budget. `amount` is bytes or percent; 0 for `auto`."""

    kind: Kind
    amount: Decimal
    text: str

    def resolve(self, whole_bytes: int) -> int:
        """The budget in bytes: a share of `whole_bytes`, all of it for `auto`, or the size given.

        What the whole is, is the caller's to say: the unplanned peak, and for `auto` what the
        device has free.
        """
        if self.kind == "bytes":
            return int(self.amount)
        if self.kind == "percent":
            return int(whole_bytes * self.amount / 100)
        return whole_bytes


def parse(text: str) -> Budget:
    """Read a budget. Raises BadInput."""
    stripped = text.strip()
    if stripped.lower() == "auto":
        return Budget("auto", Decimal(0), stripped)
    match = _TEXT.fullmatch(stripped)
    if match is None:
        raise BadInput(f"budget {text!r}: not a budget", hint=_HINT)
    number = Decimal(match["number"])
    if match["unit"] == "%":
        return _percent(number, stripped)
    return _size(number, match["unit"], stripped)


def _percent(number: Decimal, text: str) -> Budget:
    if not 0 < number <= 1000:
        raise BadInput(f"budget {text!r}: not between 0% and 1000%", hint=_HINT)
    return Budget("percent", number, text)


def _size(number: Decimal, unit: str, text: str) -> Budget:
    factor = _UNITS.get(unit.upper())
    if factor is None:
        raise BadInput(f"budget {text!r}: unknown unit {unit!r}", hint=_HINT)
    size = number * factor
    if size < 1:
        raise BadInput(f"budget {text!r}: less than a byte", hint=_HINT)
    if size > INT64_MAX:
        raise BadInput(f"budget {text!r}: more than 2^63-1 bytes", hint=_HINT)
    return Budget("bytes", size, text)


def format_bytes(size: int) -> str:
    """A size for people, in binary units: `1.50 GiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{size} B" if unit == "B" else f"{amount:.2f} {unit}"
        amount /= 1024
    return f"{amount:.2f} TiB"
