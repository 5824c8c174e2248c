"""The tables of a profile, for a terminal and a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastsa.records.timeline import PHASES
from fastsa.report import text
from fastsa.report.kept import KeptModule
from fastsa.report.layout import PageFacts, Paragraph, Table
from fastsa.report.profile import ProfileReport
from fastsa.report.times import TimeOf

UNKNOWN = "(none known)"
NODES = 2  # named per module; of the others there is the number


def overview(report: ProfileReport) -> PageFacts:
    """What was recorded, and the numbers that are asked for first."""
    return PageFacts(
        f"Profile {text.of_id(report.id)}",
        [
            ("script", " ".join((report.script, *report.arguments))),
            ("model", f"{report.model}, {text.of_count(report.parameters)} parameters"),
            ("shape", report.shape),
            ("device", report.device),
            ("recorded", f"{text.of_time(report.created)} UTC"),
            ("versions", ", ".join(f"{k} {v}" for k, v in report.versions.items())),
            ("peak", f"{text.of_bytes(report.peak_bytes)} measured, whole process"),
            (
                "resident",
                f"{text.of_bytes(report.resident_bytes)} measured, as a forward begins",
            ),
            ("kept", _kept(report)),
            ("step time", _step_time(report)),
            ("would have fitted", _minimum(report)),
        ],
    )


def _kept(report: ProfileReport) -> str | None:
    if not report.saved:
        return None
    return f"{text.of_bytes(report.saved_bytes)} by autograd for the backward, measured"


def _step_time(report: ProfileReport) -> str | None:
    if report.step_seconds is None:
        return None
    return f"{text.of_seconds(report.step_seconds)} measured"


def _minimum(report: ProfileReport) -> str | None:
    if report.minimum_budget_bytes is None:
        return None
    return f"{text.of_bytes(report.minimum_budget_bytes)}, the smallest budget, predicted"


def incomplete(report: ProfileReport) -> Iterator[Paragraph]:
    """What is not there, and why."""
    if report.ended is not None:
        yield Paragraph(f"INCOMPLETE: it ended with {report.ended}")
    for sentence in report.missing:
        yield Paragraph(f"missing: {sentence}")


def by_category(report: ProfileReport) -> Table:
    """The categories at the peak."""
    total = sum(each.bytes for each in report.at_peak)
    rows = [
        (
            each.category,
            text.of_count(each.blocks),
            text.of_bytes(each.bytes),
            text.of_share(each.bytes, total),
        )
        for each in report.at_peak
    ]
    title = f"At the peak (event {report.peak_event} of {report.events}), measured"
    return Table(title, ["category", "blocks>", "bytes>", "share|"], rows)


def by_source(report: ProfileReport) -> Table:
    """The source lines at the peak."""
    rows = [
        (
            text.of_source(each.source) or UNKNOWN,
            each.op,
            each.category,
            text.of_count(each.blocks),
            text.of_bytes(each.bytes),
            text.of_share(each.bytes, report.peak_bytes),
        )
        for each in report.at_peak_by_source
    ]
    columns = ["source line", "op?", "mostly?", "blocks>?", "bytes>", "share|"]
    return Table("At the peak, by source line, measured", columns, rows)


def largest(report: ProfileReport) -> Table:
    """The largest blocks at the peak."""
    rows = [
        (
            text.of_bytes(each.bytes),
            each.category,
            each.op,
            each.module,
            text.of_source(each.source),
            _life(each.birth_seconds, each.death_seconds) if report.levels.timed else None,
        )
        for each in report.largest_at_peak
    ]
    columns = ["bytes>", "category", "op", "module", "source?", "alive?"]
    return _filled(Table("Largest blocks at the peak, measured", columns, rows))


def _life(birth: float | None, death: float | None) -> str:
    start = "before" if birth is None else text.of_seconds(birth)
    return f"{start} to {'after' if death is None else text.of_seconds(death)}"


def kept_by_module(report: ProfileReport) -> Table:
    """What autograd keeps, by module."""
    title = "Kept for the backward, by module, measured"
    return _kept_table(title, "module", report.saved_by_module, report.saved_bytes)


def kept_by_layer(report: ProfileReport) -> Table:
    """The same, repeated layers together."""
    title = "Kept for the backward, repeated layers together, measured"
    return _kept_table(title, "modules", report.saved_by_layer, report.saved_bytes)


def _kept_table(title: str, name: str, lines: Sequence[KeptModule], whole: int) -> Table:
    rows = [
        (
            each.module or UNKNOWN,
            _nodes(each.nodes),
            text.of_count(each.tensors),
            text.of_bytes(each.bytes),
            text.of_share(each.bytes, whole),
            "" if each.wait_seconds is None else text.of_seconds(each.wait_seconds),
        )
        for each in lines
    ]
    columns = [name, "kept by?", "tensors>?", "bytes>", "share|", "waits up to>"]
    return _filled(Table(title, columns, rows))


def _nodes(nodes: Sequence[str]) -> str:
    named = ", ".join(node.removesuffix("Backward0") for node in nodes[:NODES])
    return named + (f" and {len(nodes) - NODES} more" if len(nodes) > NODES else "")


def kept_by_node(report: ProfileReport) -> Table:
    """What autograd keeps, by kind of node."""
    rows = [
        (
            each.node,
            text.of_count(each.tensors),
            text.of_bytes(each.bytes),
            text.of_share(each.bytes, report.saved_bytes),
            text.of_bytes(each.parameter_bytes) if each.parameter_bytes else "",
        )
        for each in report.saved
    ]
    columns = ["node", "tensors>", "bytes>", "share|", "parameters>?"]
    return _filled(Table("Kept for the backward, by autograd node, measured", columns, rows))


def time_by_op(report: ProfileReport) -> Table:
    """The ops' seconds."""
    return _times("Time by op", "op", report.ops, report)


def time_by_module(report: ProfileReport) -> Table:
    """The modules' seconds."""
    return _times("Time by module", "module", report.modules, report)


def _times(title: str, name: str, lines: Sequence[TimeOf], report: ProfileReport) -> Table:
    phases = [phase for phase in PHASES if any(phase in each.phases for each in lines)]
    rows = [
        (
            each.label or UNKNOWN,
            text.of_count(each.calls),
            text.of_seconds(each.seconds),
            text.of_share(each.seconds, report.op_seconds),
            *(text.of_seconds(each.phases[p]) if p in each.phases else "" for p in phases),
        )
        for each in lines
    ]
    how = "measured in the recorded step" if report.ops_from == "step" else "measured op by op"
    columns = [name, "calls>", "seconds>", "share|", *(f"{phase}>?" for phase in phases)]
    return Table(f"{title}, {how}", columns, rows)


def time_by_node(report: ProfileReport) -> Table:
    """The backward nodes' seconds."""
    whole = sum(each.seconds for each in report.nodes)
    rows = [
        (
            each.label,
            text.of_count(each.calls),
            text.of_seconds(each.seconds),
            text.of_share(each.seconds, whole),
        )
        for each in report.nodes
    ]
    columns = ["backward node", "calls>", "seconds>", "share|"]
    return Table("Time by backward node, measured in the recorded step", columns, rows)


def step_parts(report: ProfileReport) -> Table:
    """What the step's time is made of."""
    whole = sum(each.seconds for each in report.step_parts)
    rows = [
        (each.name, text.of_seconds(each.seconds), text.of_share(each.seconds, whole))
        for each in report.step_parts
    ]
    return Table("The step's time, measured", ["part", "seconds>", "share|"], rows)


def regions(report: ProfileReport) -> Table:
    """The captured regions."""
    rows = [
        (
            str(each.region),
            text.of_id(each.graph),
            text.of_count(each.ops),
            text.of_count(each.values),
            text.of_seconds(each.seconds),
        )
        for each in report.regions
    ]
    title = "Captured regions; seconds measured op by op"
    return Table(title, ["region>", "graph", "ops>", "values>?", "seconds>"], rows)


def device(report: ProfileReport) -> PageFacts | None:
    """The device by NVML, and the state of the caching allocator."""
    use, state = report.device_use, report.fragmentation
    pairs: list[tuple[str, str | None]] = []
    if use is not None:
        most, beyond = use.most_used_bytes, use.beyond_bytes
        others = use.other_processes
        pairs += [
            ("device", f"{use.name}, {text.of_bytes(use.total_bytes)}, driver {use.driver}"),
            ("in use", f"at most {text.of_bytes(most)}, by everybody" if most else None),
            (
                "beyond PyTorch",
                f"at most {text.of_bytes(beyond)}, by this process" if beyond else None,
            ),
            ("other processes", text.of_count(others) if others else "none"),
        ]
    if state is not None:
        used = text.of_bytes(state.allocated_bytes)
        held = f"{text.of_bytes(state.reserved_bytes)}, {used} in use"
        count = text.of_count(state.free_blocks)
        free = f"{text.of_bytes(state.largest_free_bytes)}, of {count} free blocks"
        pairs += [("reserved", f"{held} after the step"), ("largest free block", free)]
    return PageFacts("The device, measured", pairs) if pairs else None


def _filled(table: Table) -> Table:
    """The table without the columns in which nothing is known."""
    kept = [i for i in range(len(table.columns)) if any(row[i] for row in table.rows)]
    return Table(
        table.title,
        [table.columns[i] for i in kept],
        [[row[i] for i in kept] for row in table.rows],
    )
