"""report.html in a real browser, with the network blocked."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_runs
import pytest

from burnish.reports.html import write_report

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs chromium at {CHROMIUM} (set CHROMIUM to another)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install burnish[dev])")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pages")
    labels = [f"intent_{index:02}_of_a_rather_long_name" for index in range(77)]
    return {
        "extraction": write_report(fake_runs.build(root / "extraction", count=60)),
        "many": write_report(fake_runs.build(root / "many", "classification", labels=labels, count=400)),
        "evil": write_report(fake_runs.build(root / "evil", "classification", evil=True, count=60)),
        "evil_tools": write_report(fake_runs.build(root / "evil_tools", "tool_calling", evil=True, count=60)),
        "generation": write_report(fake_runs.build(root / "generation", "generation", count=60)),
    }


NAMES = ("extraction", "many", "evil", "evil_tools", "generation")


class Visit:
    """A page with everything it said to the console or asked of the network."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.console: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.reached: list[str] = []  # asked of the network and not stopped before
        self.context.route(lambda url: not url.startswith("file:"), self._refuse)
        self.page.goto(path.as_uri())

    def _refuse(self, route: Any) -> None:
        self.reached.append(route.request.url)
        route.abort()

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_nothing_and_complains_of_nothing(browser: Any, pages: dict[str, Path], name: str) -> None:
    with Visit(browser, pages[name]) as visit:
        assert visit.requests == [pages[name].as_uri()]
        assert visit.console == []
        assert visit.page.title().startswith(
            ("procedure-coding: Ship", f"{name.removeprefix('evil_')}", "classif", "tool")
        )
        assert visit.page.get_by_text("Yes: ship it.").is_visible()


@pytest.mark.parametrize("name", ["evil", "evil_tools"])
def test_planted_scripts_neither_run_nor_load(browser: Any, pages: dict[str, Path], name: str) -> None:
    with Visit(browser, pages[name]) as visit:
        assert "owned" not in visit.page.title()
        assert visit.page.get_by_text('<script>document.title="owned"').first.is_visible()


def test_the_policy_stops_a_script_that_gets_in_anyway(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    """As if escaping had failed: the policy is a second wall."""
    page = pages["extraction"].read_text(encoding="utf-8")
    planted = tmp_path / "planted.html"
    evil = fake_runs.EVIL + '<style>h1{display:none}</style><img src="https://example.org/x.png">'
    planted.write_text(page.replace("<main>", f"<main>{evil}"), encoding="utf-8")
    with Visit(browser, planted) as visit:
        assert "owned" not in visit.page.title()
        assert visit.page.locator("h1").is_visible()
        assert visit.reached == []
        assert any("Content Security Policy" in text for text in visit.console)


@pytest.mark.parametrize("name", NAMES)
def test_no_width_scrolls_sideways(browser: Any, pages: dict[str, Path], name: str) -> None:
    with Visit(browser, pages[name]) as visit:
        for width in (320, 360, 768, 1240):
            visit.page.set_viewport_size({"width": width, "height": 900})
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["extraction", "many"])
def test_no_text_of_a_plot_is_cut_off(browser: Any, pages: dict[str, Path], name: str) -> None:
    cut = """() => [...document.querySelectorAll('svg.plot text')].filter(text => {
        const box = text.getBoundingClientRect(), plot = text.closest('svg').getBoundingClientRect();
        return box.width > 0 && (box.left < plot.left - 1 || box.right > plot.right + 1 || box.top < plot.top - 1);
    }).map(text => text.textContent)"""
    with Visit(browser, pages[name]) as visit:
        for width in (360, 1240):
            visit.page.set_viewport_size({"width": width, "height": 900})
            assert visit.page.evaluate(cut) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: Any, pages: dict[str, Path], scheme: str) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1 between text and what is behind it."""
    weak = """() => {
        const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
        const light = c => { const [r, g, b] = c.map(v => { v /= 255;
            return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const behind = element => { for (let e = element; e; e = e.parentElement) {
            const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0.99) return c.slice(0, 3); }
            return [255, 255, 255]; };
        const found = new Set();
        for (const element of document.querySelectorAll('body *')) {
            const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
            if (!own || element.closest('svg') || !element.getClientRects().length) continue;
            const a = light(parse(getComputedStyle(element).color).slice(0, 3)), b = light(behind(element));
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < 4.5) found.add(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`);
        }
        return [...found];
    }"""
    with Visit(browser, pages["extraction"], color_scheme=scheme) as visit:
        assert visit.page.evaluate(weak) == []


def test_every_plot_has_words_and_headings_go_down_one_at_a_time(browser: Any, pages: dict[str, Path]) -> None:
    with Visit(browser, pages["many"]) as visit:
        unnamed = "() => [...document.querySelectorAll('svg.plot')].filter(s => !s.getAttribute('aria-label')).length"
        assert visit.page.evaluate(unnamed) == 0
        levels = visit.page.evaluate("() => [...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_it_reads_without_scripts_and_prints(browser: Any, pages: dict[str, Path]) -> None:
    with Visit(browser, pages["extraction"], java_script_enabled=False) as visit:
        assert visit.page.get_by_text("Yes: ship it.").is_visible()
        assert visit.page.get_by_role("region", name="Table of all systems").is_visible()
        visit.page.emulate_media(media="print")
        assert not visit.page.get_by_role("navigation").is_visible()
        assert visit.page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
