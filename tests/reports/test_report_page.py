"""report.html without a browser: what it says, that it is sealed against scripts, and that parts may be missing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path

import fake_runs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import RunError
from burnish.records import KINDS
from burnish.reports.html import render_report, write_report
from burnish.reports.rundata import RunData, read_run


class Outline(HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"badly nested </{tag}>"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def outline(run_dir: Path) -> Outline:
    return Outline(render_report(read_run(run_dir)))


def test_the_page_answers_the_question_in_words(finished_run: Path) -> None:
    text = outline(finished_run).text
    for part in (
        "Is a fine-tuned smollm2-135m-instruct worth shipping for procedure-coding?",
        "Yes: ship it.",
        "tuned beats few_shot by 41.0 points, at least the margin of 5.0",
        "On 200 sealed test examples tuned reaches",
        "93% of the prompt is saved",
        "tuned reads 41 tokens a request where few_shot reads 612",
        "14 rows are exact copies of others",
        "procedures.jsonl:10",
        "burnish run examples/procedure-coding",
        "learning_rate: 0.001",
        "3f" * 32,
        "8 min 35 s",
        "No over-fitting was seen",
    ):
        assert part in text


def test_it_is_written_whole_into_the_run_folder(tmp_path: Path) -> None:
    run_dir = fake_runs.build(tmp_path / "run", count=20)
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert not [file for file in run_dir.iterdir() if file.name.startswith(".")]
    assert path.stat().st_size < 300_000


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_page(kind: str, tmp_path: Path) -> None:
    page = outline(fake_runs.build(tmp_path / kind, kind, count=60))
    assert "Yes: ship it." in page.text
    assert not page.open
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {str(attributes["href"]) for tag, attributes in page.tags if tag == "a"}
    assert targets <= {f"#{name}" for name in ids}


def test_the_policy_allows_this_style_sheet_and_nothing_else(finished_run: Path) -> None:
    page = render_report(read_run(finished_run))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert policy
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy[1].replace("&#39;", "'")
    assert "default-src 'none'" in policy[1]
    assert "script-src" not in policy[1]
    assert page.index("Content-Security-Policy") < page.index("<title>")


@pytest.mark.parametrize("kind", KINDS)
def test_planted_html_is_text(kind: str, tmp_path: Path) -> None:
    page = outline(fake_runs.build(tmp_path / kind, kind, evil=True, count=60))
    names = {tag for tag, _ in page.tags}
    assert names & {"script", "img", "iframe", "object", "form", "base"} == set()
    attributes = {name for _, found in page.tags for name in found}
    assert not {name for name in attributes if name.startswith("on") or name in {"style", "src", "srcdoc"}}
    assert fake_runs.EVIL in page.text


@lru_cache(maxsize=1)
def _tags(run_dir: Path) -> list[str]:
    return [tag for tag, _ in outline(run_dir).tags]


@settings(max_examples=15, deadline=None)
@given(text=st.text(min_size=1, max_size=60))
def test_any_text_leaves_the_structure_alone(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    run_dir = tmp_path_factory.getbasetemp() / "any-text"
    if not run_dir.exists():
        fake_runs.build(run_dir, "classification", count=30)
    data = read_run(run_dir)
    tags = _tags(run_dir)
    data.run["config"]["name"] = data.run["config"]["instruction"] = text
    for example in data.examples.values():
        example["input"] = text
    page = render_report(data)
    page.encode("utf-8")  # no lone surrogates
    assert [tag for tag, _ in Outline(page).tags] == tags
    assert not re.search("[\x00-\x08\x0b\x0e-\x1f\x7f\u202a-\u202e]", page)


FILES = (
    "run.json",
    "split.json",
    "data_report.json",
    "metrics.jsonl",
    "evaluation.json",
    "verdict.json",
    "test_examples.jsonl",
    "predictions/tuned.jsonl",
    "predictions/few_shot.jsonl",
)


@pytest.mark.parametrize("name", FILES)
def test_any_one_file_may_be_missing(name: str, tmp_path: Path) -> None:
    run_dir = fake_runs.build(tmp_path / "run", count=40)
    (run_dir / name).unlink()
    page = outline(run_dir)
    assert "worth shipping" in page.text
    told = f"Incomplete: {name} is missing" in " ".join(page.text.split())
    assert told == (name not in ("run.json", "metrics.jsonl"))


def test_a_run_that_goes_on_lacks_nothing(tmp_path: Path) -> None:
    run_dir = fake_runs.build(tmp_path / "run", count=40)
    change(run_dir, lambda run: run | {"status": "evaluating"})
    for name in ("evaluation.json", "verdict.json"):
        (run_dir / name).unlink()
    assert read_run(run_dir).problems == []
    (run_dir / "predictions" / "tuned.jsonl").unlink()
    assert read_run(run_dir).problems == []  # nothing was measured on them


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [b"", b"{", b"[1, 2]\n", b"\xff\xfe\n", b"null", b'{"systems": 3, "metrics": []}'])
def test_a_damaged_file_is_named_and_the_rest_shown(name: str, damage: bytes, tmp_path: Path) -> None:
    run_dir = fake_runs.build(tmp_path / "run", count=20)
    (run_dir / name).write_bytes(damage)
    data = read_run(run_dir)
    page = Outline(render_report(data))
    assert "worth shipping" in page.text
    odd_but_readable = damage == b"" or b"systems" in damage
    if not odd_but_readable:
        assert any(Path(name).name in problem for problem in data.problems)
        assert "Incomplete:" in page.text


@pytest.mark.parametrize("keep", range(1, len(FILES)))
def test_a_run_that_stopped_early_has_its_page(keep: int, tmp_path: Path) -> None:
    run_dir = fake_runs.build(tmp_path / "run", count=20)
    for name in FILES[keep:]:
        (run_dir / name).unlink()
    change(run_dir, lambda run: run | {"status": "interrupted", "error": "stopped by Ctrl-C after step 20"})
    text = outline(run_dir).text
    assert "Not known yet" in text or (run_dir / "verdict.json").exists()
    if not (run_dir / "verdict.json").exists():
        assert "interrupted (stopped by Ctrl-C after step 20)" in text


def change(run_dir: Path, how: Callable[[dict[str, object]], dict[str, object]]) -> None:
    path = run_dir / "run.json"
    path.write_text(json.dumps(how(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


def test_a_run_of_baselines_alone(tmp_path: Path) -> None:
    text = outline(fake_runs.build(tmp_path / "run", systems=("majority", "prompt"), count=40)).text
    assert "Not known yet" in text
    assert "always the most frequent answer" in text
    assert "minus this" not in text


def test_hold_says_why_and_what_next(tmp_path: Path) -> None:
    run_dir = fake_runs.build(tmp_path / "run", decision="hold", overfit="Over-fitting: it rose.", count=40)
    text = outline(run_dir).text
    for part in (
        "No: hold it back for now.",
        "below the target of 80.0%",
        "What to try next",
        "Add about 400",
        "it rose.",
    ):
        assert part in text
    assert "Over-fitting: Over-fitting" not in text
    assert "luck" in text  # three looks at the sealed test


def test_wrong_fields_are_marked(tmp_path: Path) -> None:
    page = render_report(read_run(fake_runs.build(tmp_path / "run", count=60)))
    assert '<td class="bad"><span class="value">Aorta</span></td>' in page
    assert '<td class="good"><span class="value">' in page
    assert "gave no valid answer" in page


def test_many_labels_show_the_confused_ones_by_name(tmp_path: Path) -> None:
    labels = [f"intent_{index:02}" for index in range(77)]
    text = outline(fake_runs.build(tmp_path / "run", "classification", labels=labels, count=600)).text
    assert "The labels of 77 that take part in most confusions" in text
    assert "The whole matrix of 77 labels" in text
    assert "65 more" in text


def test_huge_inputs_are_shortened(tmp_path: Path) -> None:
    run_dir = fake_runs.build(tmp_path / "run", count=20)
    rows = [json.loads(line) for line in (run_dir / "test_examples.jsonl").read_text(encoding="utf-8").splitlines()]
    text = "".join(json.dumps(row | {"input": "x" * 1_000_000}) + "\n" for row in rows)
    (run_dir / "test_examples.jsonl").write_text(text, encoding="utf-8")
    page = render_report(read_run(run_dir))
    assert "(1,000,000 characters)" in page
    assert len(page) < 200_000


def test_it_is_deterministic(finished_run: Path) -> None:
    assert render_report(read_run(finished_run)) == render_report(read_run(finished_run))


def test_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run folder"):
        read_run(tmp_path / "nothing")
    with pytest.raises(RunError, match="holds no run"):
        read_run(tmp_path)


def test_what_decides_when_nothing_is_said(finished_run: Path) -> None:
    data: RunData = read_run(finished_run)
    data.verdict.clear()
    data.run.clear()
    assert (data.metric, data.candidate, data.baseline, data.decision) == ("exact_match", "tuned", "few_shot", "")
