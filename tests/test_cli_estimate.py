"""`burnish estimate` from the outside, and the numbers in its document."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from burnish.cli import app
from tiny import save_tiny

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "estimate.md").read_text(encoding="utf-8")
CASES = re.findall(r"(?m)^\| [^|]+ \| `burnish (estimate [^`]+)` \| ([0-9.]+) GB \| (yes|no) \|$", DOCUMENT)


def call(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        app([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A classification task of 60 rows with a tiny model of random weights."""
    folder = tmp_path / "task"
    folder.mkdir()
    save_tiny(folder / "model")
    rows = [{"text": f"the cat sat on {i}", "label": ("cat", "dog")[i % 2]} for i in range(60)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    config = {
        "name": "tiny", "kind": "classification", "instruction": "Which animal is it?", "data": "rows.jsonl",
        "model": "model", "training": {"batch_size": 8, "num_epochs": 2},
    }  # fmt: skip
    (folder / "burnish.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("command", "total", "fits"), CASES, ids=lambda value: value[-40:])
def test_the_documents_numbers(command: str, total: str, fits: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(*shlex.split(command), "--json", capsys=capsys)
    assert err == ""
    record = json.loads(out)
    assert f"{record['memory']['total'] / 2**30:.1f}" == total
    assert (record["fits"], status) == ((True, 0) if fits == "yes" else (False, 1))


def test_the_document_has_the_classic_cases() -> None:
    assert len(CASES) >= 10
    assert any("8b --method qlora" in command and "12gb" in command for command, *_ in CASES)
    assert any("70b --method full" in command and "--devices 8" in command for command, *_ in CASES)


def test_a_task_is_estimated_with_its_own_rows(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call("estimate", task, "--on", "a100-80gb", "--fit", "--json", capsys=capsys)
    record: dict[str, Any] = json.loads(out)
    assert (status, record["fits"], record["fit"]["settings"]) == (0, True, [])
    assert record["method"] == "lora"
    assert record["work"]["steps"] == 2 * -(-45 // 8)
    assert sum(size for part, size in record["memory"].items() if part != "total") == pytest.approx(
        record["memory"]["total"], abs=10
    )
    whole = ["--set", "training.method=full", "--set", "training.dtype=float32"]
    _, out, _ = call("estimate", task, "--json", *whole, capsys=capsys)
    full = json.loads(out)
    assert full["trained_parameters"] == full["parameters"]
    assert full["device"]["name"].startswith("this machine")
    _, out, _ = call("estimate", task, "--json", *whole, "--set", "training.optimizer=adamw_8bit", capsys=capsys)
    eight = json.loads(out)
    assert eight["optimizer"] == "adamw_8bit"
    assert eight["memory"]["optimizer"] == pytest.approx(full["memory"]["optimizer"] * 2.03125 / 8)
    _, out, _ = call("estimate", task, "--json", *whole[:2], "--set", "training.dtype=bfloat16", capsys=capsys)
    split = json.loads(out)["memory"]  # the lower halves of the weights are the optimizer's
    assert split["weights"] == pytest.approx(full["memory"]["weights"] / 2)
    assert split["optimizer"] == pytest.approx(full["memory"]["optimizer"] * 10 / 8)


def test_no_weights_are_read(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for weights in (task / "model").glob("*.safetensors"):
        weights.unlink()
    assert call("estimate", task, "--on", "l4", capsys=capsys)[0] == 0


def test_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", "llama-3.1-8b", "--method", "qlora", "--on", "rtx-3060-12gb"]
    status, out, _ = call("estimate", *options, "--fit", capsys=capsys)
    assert status == 0
    for words in ("8.03 billion parameters", "activations", "does not fit", "tokens_per_batch:", "kWh", "What fits"):
        assert words in out
    status, out, _ = call("estimate", *options, "--length", "200000", "--fit", capsys=capsys)
    assert status == 1
    assert "Nothing fits" in out
    assert "say --watts" in call("estimate", "--model", "smollm2-135m", "--length", "32", capsys=capsys)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "a task or a model is needed"),
        (["--model", "lama-3.1-8b"], "llama-3.1-8b"),
        (["--model", "llama-3.1-8b", "--on", "rtx-4091"], "did you mean rtx-4090"),
        (["--model", "llama-3.1-8b", "--set", "seed=1"], "a task is needed"),
        (["--model", "llama-3.1-8b", "--length", "64", "--prefix", "64"], "--prefix"),
        (["--model", "llama-3.1-8b", "--length", "64", "--answer", "65"], "--answer"),
        (["--model", "llama-3.1-8b", "--on", "t4", "--dtype", "bfloat16"], "dtype: float32"),
    ],
)
def test_mistakes(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call("estimate", *arguments, capsys=capsys)
    assert (status, out) == (2, "")
    assert words in err


def test_options_that_a_task_answers_are_refused(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = call("estimate", task, "--rank", "8", capsys=capsys)
    assert status == 2
    assert "--rank" in err
