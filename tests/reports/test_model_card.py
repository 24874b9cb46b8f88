"""MODEL_CARD.md: front matter that hubs can read, figures, limits, and foreign text that stays text."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import fake_runs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from burnish.models.catalog import CATALOG
from burnish.records import KINDS
from burnish.reports.model_card import HUB_IDS, escape, fenced, render_model_card, write_model_card
from burnish.reports.rundata import read_run


def card(run_dir: Path) -> tuple[dict[str, Any], str]:
    """Front matter and body."""
    _, front, body = render_model_card(read_run(run_dir)).split("---\n", 2)
    return yaml.safe_load(front), body


def test_front_matter_is_what_hubs_read(finished_run: Path) -> None:
    front, _ = card(finished_run)
    assert front["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert front["library_name"] == "peft"
    assert front["license"] == "apache-2.0"
    assert {"lora", "extraction"} <= set(front["tags"])
    assert "exact_match" in front["metrics"]
    (entry,) = front["model-index"]
    figures = {metric["type"]: metric["value"] for metric in entry["results"][0]["metrics"]}
    assert figures["exact_match"] == pytest.approx(0.86, abs=0.06)


def test_the_card_says_what_a_reader_needs(finished_run: Path) -> None:
    _, body = card(finished_run)
    for part in (
        "**Verdict: ship.**",
        "## Intended use",
        "## Evaluation",
        "## Limitations",
        "Not tested:",
        "## Data",
        "## Training",
        "## How to use",
        f"burnish predict {finished_run.name}",
        "## Reproduce",
        "93% fewer",
        "| **tuned** |",
        "`lora_r`",
        "3f" * 32,
    ):
        assert part in body


def test_the_python_in_it_is_python(finished_run: Path) -> None:
    _, body = card(finished_run)
    (code,) = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    ast.parse(code)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_and_hostile_text(kind: str, tmp_path: Path) -> None:
    path = write_model_card(fake_runs.build(tmp_path / kind, kind, evil=True, count=30))
    text = path.read_text(encoding="utf-8")
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text.split("---\n", 2)[2])
    assert "<script" not in html
    assert "<img" not in html


@pytest.mark.parametrize("keep", [["run.json"], ["run.json", "evaluation.json"], ["data_report.json"]])
def test_a_run_that_stopped_early_has_its_card(keep: list[str], tmp_path: Path) -> None:
    run_dir = fake_runs.build(tmp_path / "run", count=20)
    for file in run_dir.iterdir():
        if file.is_file() and file.name not in keep:
            file.unlink()
    _, body = card(run_dir)
    assert "No verdict" in body


def test_hold_warns(tmp_path: Path) -> None:
    _, body = card(fake_runs.build(tmp_path / "run", "classification", decision="hold", overfit="it rose", count=60))
    assert "Do not ship" in body
    assert "it rose" in body
    assert "is answered as" in body


def test_other_models_are_loaded_by_transformers(tmp_path: Path) -> None:
    data = read_run(fake_runs.build(tmp_path / "run", count=20))
    data.run["config"]["model"] = "owner/model"
    text = render_model_card(data)
    assert "AutoModelForCausalLM.from_pretrained('owner/model')" in text
    assert "base_model: owner/model" in text
    assert "license:" not in text


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_escaped_text_is_one_plain_paragraph(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(f"x {escape(text)}")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    kinds = {child.type for child in tokens[1].children or ()}
    assert kinds <= {"text", "text_special"}


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="`~ab\n", max_size=40))
def test_no_text_closes_its_fence(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(fenced(text, "text") + "\n\nafter")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[0].content == text + "\n"


def test_hub_names_belong_to_the_catalogue() -> None:
    assert HUB_IDS.keys() == CATALOG.keys()
