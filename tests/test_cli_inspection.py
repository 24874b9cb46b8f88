"""`burnish check` looking at rows by their meaning: on, off, with requests, without the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from burnish.cli import app
from burnish.errors import ModelError
from burnish.models import embed

COLOURS = {
    "travel": ("flight", "hotel", "train", "passport"),
    "food": ("soup", "bread", "recipe", "salad"),
    "sport": ("match", "goal", "team", "referee"),
}


def call(*arguments: object) -> tuple[int, Any, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """144 rows of three labels; row 7 has a wrong one."""
    texts = [
        (f"{verb} the {noun} {when}", label)
        for label, nouns in COLOURS.items()
        for noun in nouns
        for verb in ("where is", "tell me about", "I lost", "who made")
        for when in ("today", "please", "now")
    ]
    lines = [{"text": text, "label": "sport" if row == 6 else label} for row, (text, label) in enumerate(texts)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_wrong_label_is_named_with_its_place(rows: Path):
    status, out, err = call("check", rows, "--json")
    assert status == 0
    report = json.loads(out)
    (finding,) = [finding for finding in report["findings"] if finding["kind"] == "suspect_label"]
    assert finding["rows"][0] == {"file": str(rows), "line": 7}
    assert finding["why"]
    first = report["stats"]["inspection"]["labels"]["rows_suspected"][0]
    assert (first["line"], first["label"], first["likely"]) == (7, "sport", "travel")
    assert report["stats"]["inspection"]["sampled"] == 144
    assert "embed: 144 rows" in err
    assert "likely wrong" in call("check", rows)[1]


def test_embeddings_can_be_left_out_and_asked_for(rows: Path):
    _, out, err = call("check", rows, "--json", "--no-embeddings")
    assert "inspection" not in json.loads(out)["stats"]
    assert "embed: " not in err
    _, out, _ = call("check", rows, "--json", "--kind", "generation")
    assert "inspection" not in json.loads(out)["stats"]
    _, out, _ = call("check", rows, "--json", "--kind", "generation", "--embeddings")
    assert "labels" not in json.loads(out)["stats"]["inspection"]
    _, out, _ = call("check", rows, "--json", "--sample", 60)
    assert json.loads(out)["stats"]["inspection"]["sampled"] == 60


def test_requests_are_compared(rows: Path, tmp_path: Path):
    requests = tmp_path / "requests.txt"
    asked = [f"{verb} my {thing} on {day}" for verb in ("reset", "change", "unlock") for thing in (
        "password", "account", "PIN") for day in ("Monday", "Tuesday", "Friday", "Sunday", "Saturday")]  # fmt: skip
    requests.write_text("\n".join(asked), encoding="utf-8")
    status, out, _ = call("check", rows, "--requests", requests, "--json")
    found = {finding["kind"]: finding for finding in json.loads(out)["findings"]}
    assert status == 0
    assert found["distribution_shift"]["rows"][0]["file"] == str(requests)
    assert found["coverage_gap"]["count"] > 30
    assert json.loads(out)["rows"] == 144
    status, _, err = call("check", rows, "--requests", requests, "--no-embeddings")
    assert status == 2
    assert "leave out --no-embeddings" in err
    assert call("check", rows, "--requests", tmp_path / "none.txt")[0] == 2


def test_without_the_model_the_other_checks_go_on(rows: Path, monkeypatch: pytest.MonkeyPatch):
    def absent(**_: object) -> None:
        raise ModelError("the model cannot be downloaded", fix="connect")

    monkeypatch.setattr(embed, "load_embedder", absent)
    status, out, err = call("check", rows, "--json")
    assert status == 0
    assert json.loads(out)["rows"] == 144
    assert "no embedding checks" in err
    assert "the model cannot be downloaded" in err
    assert call("check", rows, "--embeddings")[0] == 2
