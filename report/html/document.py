"""A subject as a page."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from fastsa.errors import BadInput
from fastsa.planner import files
from fastsa.report import levels, profile, text
from fastsa.report.html import header, page, planned, sections
from fastsa.report.html.markup import element, joined
from fastsa.report.html.planned import PlannedStep
from fastsa.report.html.section import Section
from fastsa.report.html.subject import PageSubject
from fastsa.report.levels import Levels
from fastsa.report.profile import ProfileReport

ROWS = 100  # of a table, most of them folded away


def check(path: Path) -> None:
    """Raises BadInput if no page can be written to `path`: its folder, or no plotly."""
    if not path.parent.is_dir():
        raise BadInput(f"{path}: there is no folder {path.parent}", hint="make it first")
    if importlib.util.find_spec("plotly") is None:
        raise BadInput(
            "reports need plotly, which is not installed", hint="run pip install 'fastsa[plots]'"
        )


def write(subject: PageSubject, path: Path) -> None:
    """Write the page, whole or not at all. Raises like `check` and `render`, and FastsaError."""
    check(path)
    files.write(path, render(subject).encode())


def render(subject: PageSubject) -> str:
    """The page. Raises BadInput for a plan that is not legal for the graph of the step."""
    report = profile.summarize(subject.id, subject.profile, top=ROWS)
    known = levels.of(subject.profile.timeline)
    after = _planned(subject, known)
    found = list(_sections(subject, report, known, after))
    links = [element("a", each.name, href=f"#{each.id}") for each in found]
    content = [header.incomplete(report), element("nav", *links), *(each.content for each in found)]
    body = joined(header.of(report, after, subject), element("main", *content))
    drawn = {name: each for every in found for name, each in every.figures.items()}
    return page.write(f"{report.model}, fastsa profile {text.of_id(report.id)}", body, drawn)


def _planned(subject: PageSubject, known: Levels) -> PlannedStep | None:
    if subject.use is None:
        return None
    if subject.graph is None:
        raise BadInput(
            f"profile {text.of_id(subject.id)} has {len(subject.profile.regions)} captured regions"
            " and no graph of the whole step",
            hint="a plan of one of them says nothing about the whole step: report without it",
        )
    resident = subject.profile.resident_beside_graph
    return planned.of(subject.graph, subject.use.plan, known, resident)


def _sections(
    subject: PageSubject, report: ProfileReport, known: Levels, after: PlannedStep | None
) -> Iterator[Section]:
    whole = subject.profile.timeline
    if whole.allocations and whole.events:
        yield sections.timeline(whole, known, after)
    if whole.allocations:
        yield sections.peak(report, whole)
    if report.saved:
        yield sections.kept(report)
    if report.ops or report.step_parts:
        yield sections.time(report)
    if subject.curve:
        yield sections.curve(subject.curve, report, subject.profile.resident_beside_graph)
    device = sections.device(report, subject.profile.device_use)
    if device is not None:
        yield device
    yield sections.origin(report)
