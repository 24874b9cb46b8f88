"""report.html in a real browser, with the network blocked."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import fake_runs
import pytest
from browsing import CUT, NEEDS_BROWSER, WEAK, Visit

from burnish.reports.html import write_report

pytestmark = NEEDS_BROWSER


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
    with Visit(browser, pages[name]) as visit:
        for width in (360, 1240):
            visit.page.set_viewport_size({"width": width, "height": 900})
            assert visit.page.evaluate(CUT) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: Any, pages: dict[str, Path], scheme: str) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1 between text and what is behind it."""
    with Visit(browser, pages["extraction"], color_scheme=scheme) as visit:
        assert visit.page.evaluate(WEAK) == []


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
