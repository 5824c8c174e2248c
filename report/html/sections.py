"""The sections of a page, each from the numbers that it shows."""

from __future__ import annotations

from collections.abc import Sequence

from fastsa.planner.plan import Plan
from fastsa.records.profile import DeviceUse
from fastsa.records.timeline import CATEGORIES, PHASES, Timeline
from fastsa.report import at_peak, profile_tables, text
from fastsa.report import curve as curves
from fastsa.report.html import figures, peak_tree, tables, timeline_figure
from fastsa.report.html.markup import Markup, element, joined
from fastsa.report.html.planned import PlannedStep
from fastsa.report.html.section import Section, plot, section
from fastsa.report.layout import PageFacts
from fastsa.report.levels import Levels
from fastsa.report.profile import ProfileReport


def timeline(whole: Timeline, levels: Levels, planned: PlannedStep | None) -> Section:
    """Memory over time."""
    axis = "the recorded step" if levels.timed else "the allocator's events, one by one"
    says = joined(
        f"All bytes that are alive over {axis}, by what they are for. Hover or tap for the op and"
        " the line.",
        element("span", " Drag to zoom, double-click to go back.", class_="mouse"),
    )
    return section(
        "timeline",
        "Memory over time",
        says,
        _legend(levels, planned),
        plot("timeline", "clamp(340px, 52vh, 460px)", "memory over time, by category"),
        *([] if planned is None else [_planned_note(planned)]),
        figures={"timeline": timeline_figure.draw(whole, levels, planned)},
    )


def _legend(levels: Levels, planned: PlannedStep | None) -> Markup:
    """The categories with what they hold: at the peak, or where the pointer is."""
    peak = levels.peak
    when = text.of_seconds(peak.at) if levels.timed else f"event {peak.event}"
    shown = [
        element("li", tables.swatch(name), name, _held(name, peak.bytes[position]))
        for position, name in enumerate(CATEGORIES)
        if any(moment.bytes[position] for moment in levels.moments)
    ]
    if planned is not None:
        size = element("b", text.of_bytes(planned.peak_bytes))
        shown.append(element("li", tables.swatch("planned"), "planned, at its peak", size))
    readout = element("p", f"At the peak, {when}", class_="readout")
    return element("div", readout, element("ul", *shown), class_="legend")


def _held(category: str, size: int) -> Markup:
    return element("b", text.of_bytes(size), data_category=category)


def _planned_note(planned: PlannedStep) -> Markup:
    return element(
        "p",
        f"The line is the planned step, predicted by the planner's memory model over"
        f" {text.of_bytes(planned.resident_bytes)} resident. Its ops were measured alone, so its"
        " time is scaled: unplanned it would take as long as forward and backward do here.",
        class_="note",
    )


def peak(report: ProfileReport, whole: Timeline) -> Section:
    """What makes the peak."""
    blocks = at_peak.alive(whole)
    says = (
        "The blocks alive at the highest moment, by the module that made them: area is bytes,"
        " colour is the category. Click a module to look inside."
        if any(block.module for block in blocks)
        else "The blocks alive at the highest moment: area is bytes. Their modules are not known."
    )
    size = text.of_bytes(sum(block.bytes for block in blocks))
    return section(
        "peak",
        "What makes the peak",
        says,
        plot("peak", "clamp(320px, 50vh, 440px)", "bytes at the peak, by module"),
        tables.of_table(profile_tables.by_category(report)),
        tables.of_table(profile_tables.by_source(report)),
        tables.of_table(profile_tables.largest(report)),
        figures={"peak": figures.treemap(peak_tree.of(blocks), f"the peak, {size}")},
    )


def kept(report: ProfileReport) -> Section:
    """What autograd keeps."""
    says = (
        f"Autograd keeps {text.of_bytes(report.saved_bytes)} from forward to backward, parameters"
        " not counted. This is what recomputation can save."
    )
    parts = [tables.of_table(profile_tables.kept_by_module(report))]
    if report.saved_by_layer != report.saved_by_module:
        parts.insert(0, tables.of_table(profile_tables.kept_by_layer(report)))
    parts.append(tables.of_table(profile_tables.kept_by_node(report)))
    return section("kept", "Kept for backward", says, *parts)


def time(report: ProfileReport) -> Section:
    """Where the time goes."""
    how = (
        "Seconds of each op in the recorded step, which recording slows down."
        if report.ops_from == "step"
        else "Seconds of each op of the captured graph, run alone."
    )
    parts = [tables.of_table(profile_tables.step_parts(report))]
    drawn = {}
    for name, title, lines, table in (
        ("ops", "By op", report.ops, profile_tables.time_by_op),
        (
            "modules",
            "By module, repeated layers together",
            report.layers,
            profile_tables.time_by_module,
        ),
    ):
        if lines:
            drawn[name] = figures.times(lines)
            bars = plot(name, "auto", f"time, {title.lower()}")
            parts += [element("h3", title), _phases(report), bars, tables.of_table(table(report))]
    parts.append(tables.of_table(profile_tables.time_by_node(report)))
    return section("time", "Where the time goes", how, *parts, figures=drawn)


def _phases(report: ProfileReport) -> Markup:
    phases = {phase for each in report.ops for phase in each.phases}
    shown = (element("li", tables.swatch(p), p) for p in PHASES if p in phases)
    return element("ul", *shown, class_="phases")


def curve(plans: Sequence[Plan], report: ProfileReport, resident: int) -> Section:
    """What every budget costs, in the plans of a curve of the step's graph."""
    says = (
        "Extra time over the budget of the whole process, less memory to the right. Each point is"
        " a plan; no plan whatsoever is in the shaded area. Predicted from measured op times."
    )
    known = curves.of_plans(plans)
    whole = curves.Whole("the whole process", report.peak_bytes, resident)
    return section(
        "curve",
        "What less memory costs",
        says,
        plot("curve", "360px", "extra time over the budget"),
        tables.of_table(curves.points(known, "Plans, predicted", whole)),
        figures={"curve": figures.curve(plans, resident, known.knee)},
    )


def device(report: ProfileReport, use: DeviceUse | None) -> Section | None:
    """The device by NVML, and fragmentation; None if nothing is known."""
    facts = profile_tables.device(report)
    if facts is None:
        return None
    sampled = use is not None and len(use.samples) > 1
    return section(
        "device",
        "The device",
        "What the device itself says, and how the allocator's memory is cut up after the step.",
        *([_device_legend(), plot("device", "300px", "the device's memory")] if sampled else []),
        tables.facts(facts),
        figures={"device": figures.device(use)} if use and sampled else {},
    )


def _device_legend() -> Markup:
    shown = (element("li", tables.swatch(shade), name) for name, shade in figures.DEVICE_LINES)
    return element("ul", *shown, class_="phases")


def origin(report: ProfileReport) -> Section:
    """How the profile was made."""
    pairs = [
        ("script", " ".join((report.script, *report.arguments))),
        ("recorded", f"{text.of_time(report.created)} UTC"),
        ("device", report.device),
        ("versions", ", ".join(f"{name} {version}" for name, version in report.versions.items())),
        (
            "allocations",
            f"{text.of_count(report.allocations)} in {text.of_count(report.events)} events",
        ),
        ("profile", text.of_id(report.id)),
    ]
    facts = tables.facts(PageFacts("The recording", pairs))
    regions = tables.of_table(profile_tables.regions(report))
    return section("about", "About this profile", "How these numbers came about.", facts, regions)
