"""The head of a page: which step this is, its key numbers, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator

from fastsa.report import text
from fastsa.report.html import tables
from fastsa.report.html.markup import Markup, element
from fastsa.report.html.planned import PlannedStep
from fastsa.report.html.subject import PageSubject, PlanUse
from fastsa.report.profile import ProfileReport


def incomplete(report: ProfileReport) -> Markup | None:
    """What is missing, for everybody to see."""
    if report.ended is None and not report.missing:
        return None
    title = "This profile is incomplete" if report.ended is not None else "Not in this profile"
    lines = [f"The recorded step ended with {report.ended}"] if report.ended is not None else []
    lines += report.missing
    return element(
        "aside",
        element("h2", title),
        element("ul", *(element("li", line) for line in lines)),
        class_="incomplete" if report.ended is not None else "missing",
    )


def of(report: ProfileReport, planned: PlannedStep | None, subject: PageSubject) -> Markup:
    """Which step this is, and the key numbers."""
    toggle = element(
        "button", "Dark", type="button", id="theme", aria_label="switch between dark and light"
    )
    name = element("p", element("b", "fastsa"), " profile ", text.of_id(report.id), class_="brand")
    count = text.of_count(report.parameters)
    numbers = [*_numbers(report)]
    if planned is not None and subject.use is not None:
        numbers += _planned_numbers(report, planned, subject.use)
    return element(
        "header",
        element("div", name, toggle, class_="top"),
        element("h1", report.model),
        element(
            "p", f"{count} parameters, input {report.shape}, on {report.device}", class_="shape"
        ),
        element("ul", *numbers, class_="numbers"),
    )


def _numbers(report: ProfileReport) -> Iterator[Markup]:
    """The numbers that people ask for first."""
    yield _number("Peak", text.of_bytes(report.peak_bytes), "measured", "whole process")
    yield _number(
        "Resident", text.of_bytes(report.resident_bytes), "measured", "as a forward begins"
    )
    if report.saved:
        size = text.of_bytes(report.saved_bytes)
        yield _number("Kept for backward", size, "measured", "by autograd")
    if report.step_seconds is not None:
        yield _number("Step", text.of_seconds(report.step_seconds), "measured", "fastest")
    beyond = report.device_use and report.device_use.beyond_bytes
    if beyond:
        yield _number("Beyond PyTorch", text.of_bytes(beyond), "measured", "context, libraries")
    if report.minimum_budget_bytes is not None:
        size = text.of_bytes(report.minimum_budget_bytes)
        yield _number("Would have fitted", size, "predicted", "the smallest budget")


def _planned_numbers(report: ProfileReport, planned: PlannedStep, use: PlanUse) -> Iterator[Markup]:
    plan = planned.plan
    less = text.of_difference(planned.peak_bytes, report.peak_bytes)
    size = text.of_bytes(planned.peak_bytes)
    yield _number("Planned peak", size, "predicted", less)
    extra = text.of_share(plan.extra_seconds, plan.base_seconds)
    bound = text.of_share(plan.lower_bound_seconds, plan.base_seconds)
    yield _number("Planned extra time", f"+{extra}", "predicted", f"at least +{bound}")
    measured = next((run.measured_peak_bytes for run in use.runs if run.measured_peak_bytes), None)
    if measured is not None:
        yield _number("Planned peak", text.of_bytes(measured), "measured", "in its latest run")


def _number(name: str, value: str, origin: str, note: str) -> Markup:
    return element(
        "li",
        element("span", name, class_="name"),
        element("b", value),
        element("span", tables.tag(f"{origin}, {note}"), class_="note"),
    )
