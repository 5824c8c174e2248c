"""The page in a real browser: nothing is fetched, everything is drawn, text stays text."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastsa.planner import curve, solve
from fastsa.report.html import document
from fastsa.report.html.subject import PageSubject, PlanUse
from support import report_profiles as profiles

sync_api = pytest.importorskip("playwright.sync_api")

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
EVIL_MODULE = "<script>alert('module')</script><a href='https://example.org'>x</a>&lt;"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of a profile with a plan and a curve, of one with evil names, of one that broke off."""
    place = tmp_path_factory.mktemp("pages")
    whole = profiles.full()
    graph = whole.regions[0].graph
    budget = int(0.7 * solve.plan(graph, 2**50, iterations=0).peak_bytes)
    plan = solve.plan(graph, budget, iterations=2000)
    plans = curve.curve(graph, points=4, iterations=500, time_limit=None).plans
    evil = profiles.full(3, model=profiles.EVIL, evil=EVIL_MODULE)
    for name, subject in {
        "whole": PageSubject(whole.id(), whole, PlanUse("ab" * 32, plan), plans),
        "evil": PageSubject(evil.id(), evil),
        "broken": PageSubject("0" * 64, profiles.broken()),
        "untimed": PageSubject("0" * 64, profiles.untimed()),
    }.items():
        document.write(subject, place / f"{name}.html")
    return place


class Visit:
    """A page, and all that it said, asked and fetched."""

    def __init__(self, page: Any, path: Path) -> None:
        self.tab = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("dialog", self._dialog)
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(path.as_uri())
        self.wait("document.documentElement.dataset.ready", "true")

    def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def run(self, script: str) -> Any:
        return self.tab.evaluate(script)

    def hover(self, figure: str, across: float, up: float) -> None:
        plot = self.tab.locator(f"[data-figure={figure}]")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        self.tab.mouse.move(box["x"] + across * box["width"], box["y"] + up * box["height"])

    def hover_point(self, figure: str) -> None:
        """The second of the bars or points of the first trace."""
        self.tab.locator(f"[data-figure={figure}]").scroll_into_view_if_needed()
        self.tab.locator(f"[data-figure={figure}] .points path").nth(1).hover(force=True)

    def hovered(self) -> str:
        """The text of the hover labels."""
        label = self.tab.locator(".hoverlayer .hovertext")
        label.first.wait_for(timeout=10_000)
        return " ".join(label.all_text_contents())

    def wait(self, script: str, wanted: Any) -> None:
        """Until a script says so. (Playwright's own waiting is against the page's policy.)"""
        deadline = time.monotonic() + 30
        while self.run(script) != wanted:
            assert time.monotonic() < deadline, f"{script} never was {wanted}"
            time.sleep(0.02)

    def quiet(self) -> bool:
        """Whether nothing was said, and nothing fetched but the page itself."""
        assert self.complaints == []
        outside = [url for url in self.requests if not url.startswith(("file:", "data:"))]
        assert outside == []
        assert self.run("performance.getEntriesByType('resource').length") == 0
        return len([url for url in self.requests if url.startswith("file:")]) == 1


@pytest.fixture
def visit(browser: Any, folder: Path) -> Iterator[Callable[..., Visit]]:
    """Opens one of the pages, with settings of the browser."""
    contexts = []

    def opened(name: str, **settings: Any) -> Visit:
        contexts.append(browser.new_context(**{"viewport": DESKTOP, **settings}))
        return Visit(contexts[-1].new_page(), folder / f"{name}.html")

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize(
    ("name", "viewport"),
    [
        pytest.param("whole", DESKTOP, id="whole-desktop"),
        pytest.param("evil", PHONE, id="evil-phone"),
        *(
            pytest.param(name, viewport, id=f"{name}-{width}", marks=pytest.mark.nightly)
            for name in ("whole", "evil", "broken", "untimed")
            for width, viewport in (("desktop", DESKTOP), ("phone", PHONE))
            if f"{name}-{width}" not in ("whole-desktop", "evil-phone")
        ),
    ],
)
def test_it_draws_and_fits(
    visit: Callable[..., Visit], name: str, viewport: dict[str, int]
) -> None:
    phone = viewport is PHONE
    page = visit(name, viewport=viewport, is_mobile=phone, has_touch=phone)
    drawn = page.run("[...document.querySelectorAll('.plot')].map(p => !!p.querySelector('svg'))")
    assert drawn
    assert all(drawn)
    widths = page.run("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths == [viewport["width"]] * 2
    assert page.quiet()


def test_hover_tells_op_bytes_and_line(visit: Callable[..., Visit]) -> None:
    page = visit("whole")
    usual = page.tab.locator(".readout").inner_text()
    page.hover("timeline", 0.3, 0.6)
    told = page.hovered()
    for words in ("MiB alive at", "aten::", "MiB allocated", "project/model.py:", "planned:"):
        assert words in told.replace("released", "allocated")
    assert page.tab.locator(".readout").inner_text() != usual
    page.tab.mouse.move(5, 5)
    page.wait("document.querySelector('.readout').innerText", usual)
    assert page.quiet()


@pytest.mark.parametrize(
    "figure",
    [
        "peak",
        "curve",
        *(pytest.param(n, marks=pytest.mark.nightly) for n in ("ops", "modules", "device")),
    ],
)
def test_the_other_figures_tell_too(visit: Callable[..., Visit], figure: str) -> None:
    page = visit("whole")
    if figure in ("peak", "device"):
        page.hover(figure, 0.35, 0.5)
    else:
        page.hover_point(figure)
    told = page.hovered()
    assert {
        "peak": "of the peak",
        "ops": "calls",
        "modules": "transformer.h.*",
        "curve": "no plan below",
        "device": "MiB",
    }[figure] in told


def colours(page: Visit) -> tuple[str, str, str]:
    """Of the page, of a word in a figure, and of the activations."""
    return (
        page.run("getComputedStyle(document.body).backgroundColor"),
        page.run("getComputedStyle(document.querySelector('.xtick text')).fill"),
        page.run(
            "document.querySelector('[data-figure=timeline]').data"
            ".find(t => t.name === 'activation').fillcolor"
        ),
    )


def _wait_for_colours(page: Visit, wanted: tuple[str, str, str]) -> None:
    deadline = time.monotonic() + 30
    while colours(page) != wanted:
        assert time.monotonic() < deadline


@pytest.mark.nightly
def test_dark_and_light(visit: Callable[..., Visit]) -> None:
    light = visit("whole", color_scheme="light")
    dark = visit("whole", color_scheme="dark")
    by_light, by_dark = colours(light), colours(dark)
    assert all(one != other for one, other in zip(by_light, by_dark, strict=True))
    toggle = light.tab.locator("#theme")
    assert toggle.inner_text() == "Dark"
    toggle.click()
    _wait_for_colours(light, by_dark)
    assert toggle.inner_text() == "Light"
    dark.tab.emulate_media(color_scheme="light")
    _wait_for_colours(dark, by_light)
    assert light.quiet()
    assert dark.quiet()


@pytest.mark.promise("fault-29")
def test_what_comes_from_a_profile_stays_text(visit: Callable[..., Visit]) -> None:
    page = visit("evil")
    assert page.tab.locator("h1").inner_text() == profiles.EVIL.replace("\u2028", "\\u2028")
    assert EVIL_MODULE in page.tab.locator("#kept").text_content()
    drawn = " ".join(page.tab.locator("[data-figure=modules] text").all_text_contents())
    assert EVIL_MODULE[-20:] in drawn
    assert page.run("document.querySelectorAll('main a[href^=http], svg a').length") == 0
    assert page.run("document.scripts.length") == 3
    page.hover_point("modules")
    assert "<a href='https://example.org'>" in page.hovered()
    assert page.quiet()


def test_only_its_own_scripts_run(visit: Callable[..., Visit]) -> None:
    page = visit("whole")
    page.run(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'window.ran = true'}))"
    )
    assert page.run("window.ran") is None
    assert "Content Security Policy" in page.complaints[0]


def test_long_tables_are_folded(visit: Callable[..., Visit]) -> None:
    page = visit("whole")
    button = page.tab.locator("#kept .all").first
    closed = page.tab.locator("#kept tbody tr:visible").count()
    assert button.inner_text().startswith("Show all ")
    button.click()
    assert page.tab.locator("#kept tbody tr:visible").count() > closed
    button.click()
    assert page.tab.locator("#kept tbody tr:visible").count() == closed


def test_what_is_missing_is_the_first_thing_said(visit: Callable[..., Visit]) -> None:
    page = visit("broken")
    said = page.tab.locator("main > :first-child").inner_text()
    assert said.startswith("This profile is incomplete")
    assert "OutOfMemoryError" in said
    assert "NVML: no driver" in said
