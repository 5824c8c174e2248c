"""What the store holds, for people: summaries, unambiguous prefixes, what a removal takes along."""

from __future__ import annotations

import re
import sqlite3
from typing import Any, Literal, get_args

import msgspec

from fastsa.cache.keys import bare
from fastsa.errors import BadInput
from fastsa.records import verdict

Kind = Literal["profile", "graph", "plan", "run", "verdict"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SHORTEST_PREFIX = 4
MOST_CANDIDATES = 8


class Item(msgspec.Struct, frozen=True):
    """One thing in the store. `id` is hex, without `sha256:`."""

    kind: Kind
    id: str


class Row(msgspec.Struct, frozen=True):
    """One line of `fastsa list`.

    Bytes of profiles and runs are the whole process's on the device, bytes of plans the step's
    own. `peak_origin` and `seconds_origin` say whether these were measured or predicted. `curve`
    is the id of the curve a plan is one of; `checked` is the latest verdict on it, in a few words.
    """

    kind: Kind
    id: str
    model: str | None
    shape: str | None
    device: str | None
    created: str
    process_budget_bytes: int | None = None
    step_budget_bytes: int | None = None
    peak_bytes: int | None = None
    peak_origin: Literal["measured", "predicted"] | None = None
    seconds_origin: Literal["measured", "predicted"] | None = None
    seconds: float | None = None
    status: str | None = None
    curve: str | None = None
    checked: str | None = None


class Removal(msgspec.Struct, frozen=True):
    """The ids that go when an item goes."""

    profiles: tuple[str, ...] = ()
    graphs: tuple[str, ...] = ()
    plans: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()


_NONE: tuple[str, ...] = ()

# A graph may be stored more than once, with other seconds: the latest of a profile, or else the
# latest, stands for all.
_LISTS: dict[Kind, str] = {
    "profile": """
        SELECT 'profile' kind, id, model, shape, device, created, peak_bytes,
               'measured' peak_origin, step_seconds seconds, 'measured' seconds_origin
        FROM profiles ORDER BY number DESC""",
    "graph": """
        SELECT 'graph' kind, hash id, coalesce(profiles.model, name) model, shape, graphs.device,
               graphs.created, base_seconds seconds, op_count || ' ops' status
        FROM graphs LEFT JOIN profiles ON profiles.number = graphs.profile
        WHERE graphs.number = (
            SELECT number FROM graphs same WHERE same.hash = graphs.hash
            ORDER BY same.profile IS NULL, number DESC LIMIT 1)
        ORDER BY graphs.number DESC""",
    "plan": """
        SELECT 'plan' kind, plans.id, coalesce(profiles.model, name) model, profiles.shape,
               plans.device, plans.created, plans.step_budget_bytes, plans.peak_bytes,
               'predicted' peak_origin, seconds, 'predicted' seconds_origin, status, curve,
               identical_to_compiled, within_budget, steps, verdicts.created verdict_created
        FROM plans
        LEFT JOIN verdicts ON verdicts.number = (
            SELECT max(number) FROM verdicts same WHERE same.plan = plans.id)
        LEFT JOIN graphs ON graphs.number = (
            SELECT number FROM graphs same WHERE same.hash = plans.graph
            ORDER BY same.profile IS NULL, number DESC LIMIT 1)
        LEFT JOIN profiles ON profiles.number = graphs.profile
        ORDER BY plans.number DESC""",
    "run": """
        SELECT 'run' kind, id, model, shape, device, created, process_budget_bytes,
               coalesce(measured_peak_bytes, predicted_peak_bytes) peak_bytes,
               iif(measured_peak_bytes IS NULL, 'predicted', 'measured') peak_origin,
               coalesce(measured_step_seconds, predicted_step_seconds) seconds,
               iif(measured_step_seconds IS NULL, 'predicted', 'measured') seconds_origin,
               'plan ' || plan_origin status
        FROM runs ORDER BY number DESC""",
    "verdict": """
        SELECT 'verdict' kind, id, model, shape, device, created, process_budget_bytes,
               coalesce(measured_peak_bytes, predicted_peak_bytes) peak_bytes,
               iif(measured_peak_bytes IS NULL, 'predicted', 'measured') peak_origin,
               coalesce(measured_step_seconds, predicted_step_seconds) seconds,
               iif(measured_step_seconds IS NULL, 'predicted', 'measured') seconds_origin,
               identical_to_compiled, within_budget, steps, created verdict_created
        FROM verdicts ORDER BY number DESC""",
}

_IDS = {
    "profile": "SELECT id FROM profiles WHERE id >= ? AND id < ?",
    "graph": "SELECT DISTINCT hash id FROM graphs WHERE hash >= ? AND hash < ?",
    "plan": "SELECT id FROM plans WHERE id >= ? AND id < ?",
    "run": "SELECT id FROM runs WHERE id >= ? AND id < ?",
    "verdict": "SELECT id FROM verdicts WHERE id >= ? AND id < ?",
}


def listed(connection: sqlite3.Connection, kind: Kind | None) -> list[Row]:
    """Everything of one kind, or of all kinds, latest first."""
    kinds = KINDS if kind is None else (kind,)
    return [_row(dict(row)) for each in kinds for row in connection.execute(_LISTS[each])]


def _row(columns: dict[str, Any]) -> Row:
    created = columns.get("verdict_created")
    if created is not None:
        identical, within = (
            None if columns[name] is None else bool(columns[name])
            for name in ("identical_to_compiled", "within_budget")
        )
        columns["checked"] = verdict.summary_line(identical, within, columns["steps"], created)
    return msgspec.convert(columns, Row)


def resolve(connection: sqlite3.Connection, prefix: str) -> Item:
    """The one item whose id begins with `prefix`. Raises BadInput."""
    wanted = bare(prefix.strip())
    if not re.fullmatch(f"[0-9a-f]{{{SHORTEST_PREFIX},64}}", wanted):
        raise BadInput(
            f"{prefix!r} is no id: ids are hexadecimal",
            hint=f"give at least {SHORTEST_PREFIX} characters of an id shown by 'fastsa list'",
        )
    found = [
        Item(kind, row["id"])
        for kind in KINDS
        for row in connection.execute(_IDS[kind], [wanted, wanted + "g"])
    ]
    if not found:
        raise BadInput(f"nothing in the store begins with {wanted}", hint="see 'fastsa list'")
    if len(found) > 1:
        raise _ambiguous(wanted, found)
    return found[0]


def _ambiguous(wanted: str, found: list[Item]) -> BadInput:
    some = ", ".join(
        f"{item.kind} {item.id[: len(wanted) + 8]}" for item in found[:MOST_CANDIDATES]
    )
    more = f" and {len(found) - MOST_CANDIDATES} more" if len(found) > MOST_CANDIDATES else ""
    return BadInput(f"{wanted} is ambiguous: {some}{more}", hint="give more characters")


def removal(connection: sqlite3.Connection, item: Item) -> Removal:
    """What goes with `item`: a profile's graphs, a graph's plans, a plan's runs and verdicts.

    A graph stays while another profile has it.
    """
    profiles, graphs, plans, runs, verdicts = (
        (item.id,) if item.kind == kind else _NONE for kind in KINDS
    )
    for profile in profiles:
        graphs += _ids(
            connection,
            """SELECT DISTINCT hash FROM graphs JOIN profiles ON profiles.number = graphs.profile
               WHERE profiles.id = ? AND hash NOT IN
                   (SELECT hash FROM graphs WHERE profile IS NOT profiles.number)""",
            profile,
        )
    for graph in graphs:
        plans += _ids(connection, "SELECT id FROM plans WHERE graph = ?", graph)
    for plan in plans:
        runs += _ids(connection, "SELECT id FROM runs WHERE plan = ?", plan)
        verdicts += _ids(connection, "SELECT id FROM verdicts WHERE plan = ?", plan)
    return Removal(profiles, graphs, plans, runs, verdicts)


def remove(connection: sqlite3.Connection, item: Item) -> Removal:
    """Remove an item and what hangs on it, inside the caller's transaction."""
    doomed = removal(connection, item)
    for plan_id in doomed.plans:
        take_curve_apart(connection, plan_id)
    for table, column, ids in (
        ("verdicts", "id", doomed.verdicts),
        ("runs", "id", doomed.runs),
        ("margins", "graph", doomed.graphs),
        ("plans", "id", doomed.plans),
        ("graphs", "hash", doomed.graphs),
        ("profiles", "id", doomed.profiles),
    ):
        for each in ids:
            connection.execute(f"DELETE FROM {table} WHERE {column} = ?", [each])
    return doomed


def take_curve_apart(connection: sqlite3.Connection, plan_id: str) -> None:
    """Without one of its plans a curve has a gap: what is left are plans like any other."""
    connection.execute(
        "UPDATE plans SET curve = NULL WHERE curve = (SELECT curve FROM plans WHERE id = ?)",
        [plan_id],
    )


def _ids(connection: sqlite3.Connection, sql: str, parameter: str) -> tuple[str, ...]:
    return tuple(row[0] for row in connection.execute(sql, [parameter]))
