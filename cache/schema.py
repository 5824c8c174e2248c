"""The tables, and how an older store becomes a current one.

`number` orders rows by insertion: clocks jump, row numbers do not. Payloads are last in their
row, so that queries of the other columns never read them from disk.
"""

from __future__ import annotations

import sqlite3

from fastsa.errors import StoreUnusable

APPLICATION_ID = 0x66736131  # "fsa1": tells our files from other programs' databases

# Older SQLite has no STRICT tables; the CHECKs hold all the same.
_STRICT = "STRICT" if sqlite3.sqlite_version_info >= (3, 37) else ""
_STRICT_NO_ROWID = "STRICT, WITHOUT ROWID" if _STRICT else "WITHOUT ROWID"

_HASH = "TEXT NOT NULL CHECK (length({0}) = 64 AND {0} NOT GLOB '*[^0-9a-f]*')"
_BYTES = "INTEGER NOT NULL CHECK (typeof({0}) = 'integer' AND {0} >= 0)"
_SECONDS = "REAL NOT NULL CHECK (typeof({0}) = 'real' AND {0} >= 0 AND {0} < 9e999)"


def _columns(**columns: str) -> str:
    return ", ".join(f"{name} {kind.format(name)}" for name, kind in columns.items())


_PROFILES = _columns(
    number="INTEGER PRIMARY KEY",
    id=_HASH + " UNIQUE",
    created="TEXT NOT NULL",
    script="TEXT NOT NULL",
    arguments="TEXT NOT NULL",
    model="TEXT NOT NULL",
    parameters=_BYTES,
    shape="TEXT NOT NULL",
    device="TEXT NOT NULL",
    torch="TEXT",
    resident_bytes=_BYTES,
    peak_bytes=_BYTES,
    step_seconds=_SECONDS,
    sha256=_HASH,
    payload="BLOB NOT NULL",
)

_GRAPHS = _columns(
    number="INTEGER PRIMARY KEY",
    hash=_HASH,
    captured_hash="TEXT CHECK (length({0}) = 64)",
    profile="INTEGER REFERENCES profiles (number) ON DELETE CASCADE",
    region="INTEGER",
    created="TEXT NOT NULL",
    name="TEXT NOT NULL",
    device="TEXT",
    op_count=_BYTES,
    value_count=_BYTES,
    segment_count=_BYTES,
    resident_bytes=_BYTES,
    base_seconds=_SECONDS,
    sha256=_HASH,
    payload="BLOB NOT NULL",
)

_OPS = _columns(
    graph="INTEGER NOT NULL REFERENCES graphs (number) ON DELETE CASCADE",
    op=_BYTES,
    target="TEXT NOT NULL",
    name="TEXT",
    module="TEXT",
    source="TEXT",
    segment=_BYTES,
    seconds=_SECONDS,
    workspace_bytes=_BYTES,
    output_bytes=_BYTES,
    recomputable="INTEGER NOT NULL CHECK ({0} IN (0, 1))",
)

_ALLOCATIONS = _columns(
    profile="INTEGER NOT NULL REFERENCES profiles (number) ON DELETE CASCADE",
    allocation=_BYTES,
    bytes=_BYTES,
    birth="INTEGER",
    death="INTEGER",
    birth_seconds="REAL",
    death_seconds="REAL",
    category="TEXT NOT NULL",
    op="TEXT",
    source="TEXT",
)

_PLANS = _columns(
    number="INTEGER PRIMARY KEY",
    id=_HASH + " UNIQUE",
    key=_HASH,
    graph=_HASH,
    device="TEXT NOT NULL",
    torch="TEXT NOT NULL",
    cuda="TEXT",
    planner="TEXT NOT NULL",
    created="TEXT NOT NULL",
    status="TEXT NOT NULL CHECK ({0} IN ('optimal', 'feasible', 'not_found', 'infeasible'))",
    algorithm="TEXT NOT NULL",
    budget_bytes=_BYTES,
    peak_bytes=_BYTES,
    seconds=_SECONDS,
    base_peak_bytes=_BYTES,
    base_seconds=_SECONDS,
    lower_bound_seconds=_SECONDS,
    minimum_budget_bytes=_BYTES,
    sha256=_HASH,
    payload="BLOB NOT NULL",
)

_RUNS = _columns(
    number="INTEGER PRIMARY KEY",
    id=_HASH + " UNIQUE",
    plan=_HASH,
    created="TEXT NOT NULL",
    script="TEXT NOT NULL",
    model="TEXT NOT NULL",
    shape="TEXT NOT NULL",
    device="TEXT NOT NULL",
    plan_origin="TEXT NOT NULL CHECK ({0} IN ('found', 'made'))",
    budget_bytes=_BYTES,
    resident_bytes=_BYTES,
    predicted_peak_bytes=_BYTES,
    measured_peak_bytes="INTEGER CHECK ({0} >= 0)",
    predicted_step_seconds=_SECONDS,
    measured_step_seconds="REAL CHECK ({0} >= 0)",
    steps=_BYTES,
    sha256=_HASH,
    payload="BLOB NOT NULL",
)

_QUARANTINE = _columns(
    number="INTEGER PRIMARY KEY",
    kind="TEXT NOT NULL",
    id="TEXT NOT NULL",
    reason="TEXT NOT NULL",
    created="TEXT NOT NULL",
    sha256="TEXT NOT NULL",
    payload="BLOB",
)

_COUNTERS = _columns(event="TEXT PRIMARY KEY", count=_BYTES)

_VERSION_1 = (
    f"CREATE TABLE profiles ({_PROFILES}) {_STRICT}",
    "CREATE INDEX profiles_by_model ON profiles (model, shape)",
    f"CREATE TABLE graphs ({_GRAPHS}) {_STRICT}",
    "CREATE INDEX graphs_by_hash ON graphs (hash)",
    "CREATE INDEX graphs_by_captured_hash ON graphs (captured_hash, device)",
    "CREATE INDEX graphs_by_profile ON graphs (profile)",
    f"CREATE TABLE ops ({_OPS}, PRIMARY KEY (graph, op)) {_STRICT_NO_ROWID}",
    f"CREATE TABLE allocations ({_ALLOCATIONS}, PRIMARY KEY (profile, allocation))"
    f" {_STRICT_NO_ROWID}",
    f"CREATE TABLE plans ({_PLANS}) {_STRICT}",
    "CREATE INDEX plans_by_key ON plans (key, seconds, peak_bytes)",
    "CREATE INDEX plans_by_graph ON plans (graph)",
    f"CREATE TABLE runs ({_RUNS}) {_STRICT}",
    "CREATE INDEX runs_by_plan ON runs (plan)",
    f"CREATE TABLE quarantine ({_QUARANTINE}) {_STRICT}",
    f"CREATE TABLE counters ({_COUNTERS}) {_STRICT}",
)

# The plans of one curve have the same `curve`, the curve's id. A column can only be added last,
# after the payload; the index answers without reading that far.
_VERSION_2 = (
    "ALTER TABLE plans ADD COLUMN curve TEXT CHECK (length(curve) = 64)",
    """CREATE INDEX plans_by_curve ON plans (key, peak_bytes, base_seconds, status)
       WHERE curve IS NOT NULL""",
)

_PROFILES_3 = _columns(
    number="INTEGER PRIMARY KEY",
    id=_HASH + " UNIQUE",
    created="TEXT NOT NULL",
    script="TEXT NOT NULL",
    arguments="TEXT NOT NULL",
    model="TEXT NOT NULL",
    parameters=_BYTES,
    shape="TEXT NOT NULL",
    device="TEXT NOT NULL",
    torch="TEXT",
    resident_bytes=_BYTES,
    peak_bytes=_BYTES,
    step_seconds="REAL CHECK ({0} >= 0 AND {0} < 9e999)",
    complete="INTEGER NOT NULL CHECK ({0} IN (0, 1))",
    sha256=_HASH,
    payload="BLOB NOT NULL",
)

_SITES = _columns(
    profile="INTEGER NOT NULL REFERENCES profiles (number) ON DELETE CASCADE",
    site=_BYTES,
    category="TEXT NOT NULL",
    phase="TEXT",
    op="TEXT",
    module="TEXT",
    source="TEXT",
    node="TEXT",
)

_ALLOCATIONS_3 = _columns(
    profile="INTEGER NOT NULL REFERENCES profiles (number) ON DELETE CASCADE",
    allocation=_BYTES,
    bytes=_BYTES,
    birth="INTEGER",
    death="INTEGER",
    birth_seconds="REAL",
    death_seconds="REAL",
    site=_BYTES,
)

# A site is numbered by the first allocation from it, as where an old payload is read.
_PLACED = """
    SELECT profile, allocation, bytes, birth, death, birth_seconds, death_seconds,
           dense_rank() OVER (PARTITION BY profile ORDER BY first) - 1 AS site, first,
           iif(category = 'saved', 'activation', category) AS category, op, source
    FROM (SELECT *, min(allocation) OVER (PARTITION BY profile, category, op, source) AS first
          FROM allocations)"""

# What many allocations have in common is a row of its own; a step may be without a time. SQLite
# before 3.35 drops no column, and no version drops a NOT NULL: tables are made anew.
_VERSION_3 = (
    f"CREATE TABLE new_profiles ({_PROFILES_3}) {_STRICT}",
    """INSERT INTO new_profiles
       SELECT number, id, created, script, arguments, model, parameters, shape, device, torch,
              resident_bytes, peak_bytes, step_seconds, 1, sha256, payload FROM profiles""",
    "DROP TABLE profiles",
    "ALTER TABLE new_profiles RENAME TO profiles",
    "CREATE INDEX profiles_by_model ON profiles (model, shape)",
    f"CREATE TABLE sites ({_SITES}, PRIMARY KEY (profile, site)) {_STRICT_NO_ROWID}",
    f"""INSERT INTO sites
        SELECT profile, site, category, NULL, op, NULL, source, NULL
        FROM ({_PLACED}) WHERE allocation = first""",
    f"CREATE TABLE new_allocations ({_ALLOCATIONS_3}, PRIMARY KEY (profile, allocation))"
    f" {_STRICT_NO_ROWID}",
    f"""INSERT INTO new_allocations
        SELECT profile, allocation, bytes, birth, death, birth_seconds, death_seconds, site
        FROM ({_PLACED})""",
    "DROP TABLE allocations",
    "ALTER TABLE new_allocations RENAME TO allocations",
    """CREATE VIEW blocks AS
       SELECT profile, allocation, bytes, birth, death, birth_seconds, death_seconds,
              category, phase, op, module, source, node
       FROM allocations JOIN sites USING (profile, site)""",
)

_GRAPH_REGIONS = _columns(
    graph="INTEGER NOT NULL REFERENCES graphs (number) ON DELETE CASCADE",
    region=_BYTES,
    captured_hash=_HASH,
)

_VERDICTS = _columns(
    number="INTEGER PRIMARY KEY",
    id=_HASH + " UNIQUE",
    plan=_HASH,
    created="TEXT NOT NULL",
    script="TEXT NOT NULL",
    model="TEXT NOT NULL",
    shape="TEXT NOT NULL",
    device="TEXT NOT NULL",
    steps=_BYTES,
    identical_to_compiled="INTEGER CHECK ({0} IN (0, 1))",
    identical_to_eager="INTEGER CHECK ({0} IN (0, 1))",
    within_budget="INTEGER CHECK ({0} IN (0, 1))",
    budget_bytes=_BYTES,
    predicted_peak_bytes=_BYTES,
    measured_peak_bytes="INTEGER CHECK ({0} >= 0)",
    predicted_step_seconds=_SECONDS,
    measured_step_seconds="REAL CHECK ({0} >= 0)",
    sha256=_HASH,
    payload="BLOB NOT NULL",
)

_MARGINS = _columns(
    number="INTEGER PRIMARY KEY",
    id=_HASH + " UNIQUE",
    graph=_HASH,
    device="TEXT NOT NULL",
    bytes=_BYTES,
    run="TEXT CHECK (length({0}) = 64)",
    created="TEXT NOT NULL",
    sha256=_HASH,
    payload="BLOB NOT NULL",
)

# Which captured regions a graph is of: a step graph joins several, a job knows the first. What a
# check of a plan found, and what is kept free of a graph's plans.
_VERSION_4 = (
    f"CREATE TABLE graph_regions ({_GRAPH_REGIONS}, PRIMARY KEY (graph, region))"
    f" {_STRICT_NO_ROWID}",
    "CREATE INDEX graph_regions_by_captured_hash ON graph_regions (captured_hash)",
    """INSERT INTO graph_regions
       SELECT number, 0, captured_hash FROM graphs WHERE captured_hash IS NOT NULL""",
    f"CREATE TABLE verdicts ({_VERDICTS}) {_STRICT}",
    "CREATE INDEX verdicts_by_plan ON verdicts (plan)",
    f"CREATE TABLE margins ({_MARGINS}, UNIQUE (graph, device)) {_STRICT}",
)

_REQUESTS = _columns(
    number="INTEGER PRIMARY KEY",
    id=_HASH + " UNIQUE",
    kind="TEXT NOT NULL CHECK ({0} IN ('plan', 'improve', 'curve'))",
    state="TEXT NOT NULL CHECK ({0} IN ('waiting', 'running', 'planned', 'failed'))",
    key=_HASH,
    graph=_HASH,
    device="TEXT NOT NULL",
    torch="TEXT NOT NULL",
    cuda="TEXT",
    planner="TEXT NOT NULL",
    budget_bytes=_BYTES,
    attempts=_BYTES,
    owner="TEXT",
    lease="REAL",
    plan="TEXT CHECK (length({0}) = 64)",
    reason="TEXT",
    created="TEXT NOT NULL",
    changed="TEXT NOT NULL",
)

_USES = _columns(
    plan=_HASH,
    owner="TEXT NOT NULL",
    since="TEXT NOT NULL",
)

# What somebody is to plan, or is planning until `lease` (seconds since the epoch); and which plans
# living processes train with. An owner is a process, by host, boot, number and start.
_VERSION_5 = (
    f"CREATE TABLE requests ({_REQUESTS}) {_STRICT}",
    "CREATE INDEX requests_by_state ON requests (state, kind, number)",
    f"CREATE TABLE uses ({_USES}, PRIMARY KEY (plan, owner)) {_STRICT_NO_ROWID}",
)

# A budget is the whole process's, or what of it is left to the step: each has a name of its own.
_VERSION_6 = tuple(
    f"ALTER TABLE {table} RENAME COLUMN budget_bytes TO {whose}_budget_bytes"
    for table, whose in (
        ("plans", "step"),
        ("requests", "step"),
        ("runs", "process"),
        ("verdicts", "process"),
    )
)

MIGRATIONS = (
    _VERSION_1,
    _VERSION_2,
    _VERSION_3,
    _VERSION_4,
    _VERSION_5,
    _VERSION_6,
)  # the n-th makes version n + 1; what has been released never changes
VERSION = len(MIGRATIONS)


def is_current(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the tables are those of this fastsa.

    Raises StoreUnusable for a newer fastsa's store and for another program's database.
    """
    # One statement sees one state, even while another process makes the tables.
    version, application, tables = connection.execute(
        """SELECT (SELECT user_version FROM pragma_user_version),
                  (SELECT application_id FROM pragma_application_id),
                  (SELECT count(*) FROM sqlite_master)"""
    ).fetchone()
    if tables and application != APPLICATION_ID:
        raise StoreUnusable(
            f"{path}: a database of another program",
            hint="set FASTSA_STORE to a file of its own",
        )
    if version > VERSION:
        raise StoreUnusable(
            f"{path}: written by a newer fastsa (schema {version}, this one reads {VERSION})",
            hint="update fastsa, or set FASTSA_STORE to another file",
        )
    return bool(application == APPLICATION_ID and version == VERSION)


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the tables up to date, inside the caller's transaction.

    Foreign keys must be off: with them, a table that is replaced takes what hangs on it along.
    """
    if is_current(connection, path):
        return  # another process was faster
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
