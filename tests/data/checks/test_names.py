"""Names of persons: with a stand-in for presidio-analyzer, and with the real one where it is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from burnish.cli import app

STAND_IN = """
import re
from types import SimpleNamespace


class AnalyzerEngine:
    def __init__(self, *, nlp_engine, supported_languages):
        assert (nlp_engine, supported_languages) == (("spacy", "en"), ["en"])

    def analyze(self, text, language, entities, score_threshold):
        assert (language, entities, score_threshold) == ("en", ["PERSON"], 0.5)
        found = re.finditer("Anna(?: Berg)?|Berg|anna", text)
        return [SimpleNamespace(start=one.start(), end=one.end(), entity_type="PERSON", score=0.85) for one in found]
"""
ENGINE = """
class NlpEngineProvider:
    def __init__(self, *, nlp_configuration):
        self.settings = nlp_configuration

    def create_engine(self):
        return self.settings["nlp_engine_name"], self.settings["models"][0]["lang_code"]
"""
TEXTS = ["please tell Anna Berg that I called", "mail anna@firm.com for Anna", "the parcel is late"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    made = [{"prompt": text, "completion": f"answer {number}"} for number, text in enumerate(TEXTS)]
    made += [
        {"prompt": f"{number} {chr(97 + number) * 9} again?", "completion": f"x{number}"} for number in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """What spaCy would save, as far as it is read here."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "meta.json").write_text('{"lang": "en"}', encoding="utf-8")
    return tmp_path / "model"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package = tmp_path / "packages" / "presidio_analyzer"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(STAND_IN, encoding="utf-8")
    (package / "nlp_engine.py").write_text(ENGINE, encoding="utf-8")
    for name in [name for name in sys.modules if name.partition(".")[0] == "presidio_analyzer"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    yield
    for name in ("presidio_analyzer", "presidio_analyzer.nlp_engine"):
        sys.modules.pop(name, None)


def check(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["check", *map(str, arguments), "--json"])


@pytest.mark.usefixtures("stand_in")
def test_names_are_found_and_redacted(rows: Path, model: Path) -> None:
    done = check(rows, "--names", "--names-model", model, "--fix", "redact")
    (found,) = [item for item in json.loads(done.stdout)["findings"] if item["kind"] == "personal_data"]
    assert [place["line"] for place in found["rows"]] == [1, 2]
    assert "names of persons (2)" in found["message"]
    copy = (rows.parent / "rows.clean.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["prompt"] for line in copy[:3]] == [
        "please tell [NAME] that I called",
        "mail [EMAIL] for [NAME]",
        TEXTS[2],
    ]
    log = (rows.parent / "rows.clean.jsonl.changes.jsonl").read_text(encoding="utf-8")
    assert "Anna" not in log
    assert "names of persons" not in check(rows).stdout
    traced = CliRunner().invoke(app, ["data", "lineage", str(rows.parent / "rows.clean.jsonl"), f"{rows}:2"])
    assert "redact personal_data" in traced.stdout


@pytest.mark.usefixtures("stand_in")
def test_a_task_asks_for_names(rows: Path, model: Path) -> None:
    text = f"name: letters\nkind: generation\ninstruction: Answer.\ndata: {rows}\nsplit: {{test: 3, validation: 2}}\n"
    (rows.parent / "burnish.yaml").write_text(f"{text}check: {{names: true, names_model: {model.name}}}\n")
    assert "names of persons (2)" in check(rows.parent).stdout


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("named", ["en_no_such_model", "../nowhere", "empty"])
def test_a_model_that_is_not_there(rows: Path, tmp_path: Path, named: str) -> None:
    (tmp_path / "empty").mkdir()
    given = tmp_path / "empty" if named == "empty" else named
    done = check(rows, "--names", "--names-model", given)
    assert done.exit_code == 2
    assert "spaCy" in done.stdout + done.stderr
    assert str(given) in done.stdout + done.stderr


def test_without_the_extra(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    done = check(rows, "--names")
    assert done.exit_code == 2
    assert "burnish[presidio]" in done.stdout + done.stderr
    done = check(rows, "--names-model", "en_core_web_sm")
    assert done.exit_code == 2
    assert "add --names" in done.stdout + done.stderr


def test_the_real_presidio(rows: Path, tmp_path: Path) -> None:
    pytest.importorskip("presidio_analyzer")
    import spacy

    language = spacy.blank("en")
    language.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Anna Berg"}])
    language.to_disk(tmp_path / "ruled")
    done = check(rows, "--names", "--names-model", tmp_path / "ruled")
    (found,) = [item for item in json.loads(done.stdout)["findings"] if item["kind"] == "personal_data"]
    assert [place["line"] for place in found["rows"]] == [1, 2]
    assert "names of persons (1)" in found["message"]
