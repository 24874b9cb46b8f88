"""The page of `burnish check --html`: real findings of real embeddings, in a real browser, with evil texts."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from browsing import CUT, NEEDS_BROWSER, WEAK, Visit

from burnish.data.check import check_examples
from burnish.data.fingerprint import example_id
from burnish.inspection.inspect import Inspection, inspect
from burnish.inspection.sample import REQUESTS, Sampler
from burnish.models.embed import load_embedder
from burnish.records import DataReport, Example, Message, Source
from burnish.reports.check_page import page_context, write_check_page
from burnish.reports.inspection import inspection_view
from burnish.reports.terminal import to_text

TRAVEL = "travel_and_everything_that_goes_with_it_by_land_by_sea_and_in_the_air"
EVIL = '<script>document.title="owned"</script>'
SUBJECTS = {
    TRAVEL: ("flight", "hotel", "train", "passport"),
    "food": ("soup", "bread", "recipe", "salad"),
    f"sport {EVIL}": ("match", "goal", "team", "referee"),
}


def rows() -> list[Example]:
    made = []
    for label, nouns in SUBJECTS.items():
        for noun, verb, when in itertools.product(
            nouns, ("where is", "I lost", "who made"), ("today", "now", "please")
        ):
            messages = (Message("user", f"{verb} the {noun} {when}"),)
            given = "food" if (noun, verb, when) == ("hotel", "I lost", "now") else label
            made.append(Example(example_id(messages, given), messages, given, Source("rows.jsonl", len(made) + 1)))
    messages = (Message("user", f"{EVIL} my mail is jane.doe@example.org"),)
    return [*made, Example(example_id(messages, "food"), messages, "food", Source("rows.jsonl", len(made) + 1))]


@pytest.fixture(scope="module")
def checked() -> tuple[DataReport, Inspection]:
    examples = rows()
    sampler = Sampler(500, "classification")
    for example in examples:
        sampler.add(example)
    for line in range(1, 61):
        messages = (Message("user", f"reset password number {line} {EVIL}"),)
        sampler.add(Example(f"{line:016x}", messages, None, Source("requests.txt", line)), REQUESTS)
    found = inspect(sampler.sample(), load_embedder().embed)
    assert found is not None
    report = check_examples(examples, kind="classification")
    return DataReport(report.rows, (*report.findings, *found.findings), report.stats), found


@pytest.fixture(scope="module")
def page(checked: tuple[DataReport, Inspection], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("check") / "check.html"
    write_check_page("rows.jsonl", *checked, path)
    return path


def test_the_page_says_what_was_found(checked: tuple[DataReport, Inspection]):
    report, found = checked
    context = page_context("rows.jsonl", report, found)
    assert [key for key, _ in context["sections"]] == ["findings", "labels", "shifts", "clusters", "alike"]
    first = context["suspects"]["rows"][0]
    assert first["text"] == "I lost the hotel now"
    assert (first["label"], first["better"]) == ("food", TRAVEL)
    assert context["clusters"]["shown"] == len(rows())
    assert sum(cluster["rows"] for cluster in context["clusters"]["rows"]) == len(rows())
    assert "password" in context["shifts"][0]["words"]


def test_without_embeddings_the_page_is_shorter(checked: tuple[DataReport, Inspection], tmp_path: Path):
    write_check_page("rows.jsonl", checked[0], None, tmp_path / "check.html")
    text = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert "What is wrong with these data?" in text
    assert 'id="clusters"' not in text
    assert [key for key, _ in page_context("x", DataReport(3, ()), None)["sections"]] == ["findings"]


def test_personal_data_is_masked_on_page_and_terminal(page: Path, checked: tuple[DataReport, Inspection]):
    assert "jane.doe" not in page.read_text(encoding="utf-8")
    shown = to_text(inspection_view(checked[1]))
    assert "jane.doe" not in shown
    assert "I lost the hotel now" in shown


class TestInABrowser:
    pytestmark = NEEDS_BROWSER

    def test_it_loads_nothing_and_runs_nothing(self, browser: Any, page: Path) -> None:
        with Visit(browser, page) as visit:
            assert visit.requests == [page.as_uri()]
            assert visit.console == []
            assert visit.page.title() == "rows.jsonl: data check · Burnish"
            assert visit.page.locator("td, .input").filter(has_text="<script>").first.is_visible()
            assert visit.page.get_by_role("region", name="Table of clusters").is_visible()

    def test_no_width_scrolls_sideways_and_no_text_is_cut(self, browser: Any, page: Path) -> None:
        with Visit(browser, page) as visit:
            for width in (320, 360, 768, 1240):
                visit.page.set_viewport_size({"width": width, "height": 900})
                assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
                assert visit.page.evaluate(CUT) == []

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_has_contrast_and_clusters_have_colours(self, browser: Any, page: Path, scheme: str) -> None:
        with Visit(browser, page, color_scheme=scheme) as visit:
            assert visit.page.evaluate(WEAK) == []
            colours = "() => [...new Set([...document.querySelectorAll('.spot')].map(s => getComputedStyle(s).fill))]"
            assert len(visit.page.evaluate(colours)) >= 3

    def test_long_labels_leave_room_for_the_text(self, browser: Any, page: Path) -> None:
        with Visit(browser, page, viewport={"width": 800, "height": 900}) as visit:
            text = visit.page.locator(".suspects tbody th").first
            assert text.bounding_box()["width"] >= 250

    def test_headings_go_down_one_at_a_time(self, browser: Any, page: Path) -> None:
        with Visit(browser, page) as visit:
            levels = visit.page.evaluate("() => [...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
            assert levels.count(1) == 1
            assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
