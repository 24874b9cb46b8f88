"""`burnish cost` from the outside: a run, a task, prices of one's own, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from burnish.cli import app
from tiny import save_tiny


def call(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        app([str(argument) for argument in arguments])
    out, _ = capsys.readouterr()
    return int(left.value.code or 0), out


@pytest.fixture
def task(tmp_path: Path) -> Path:
    folder = tmp_path / "task"
    folder.mkdir()
    save_tiny(folder / "model")
    rows = [{"text": f"the cat sat on {i}", "label": ("cat", "dog")[i % 2]} for i in range(60)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    config = {
        "name": "tiny",
        "kind": "classification",
        "instruction": "Which animal is it?",
        "data": "rows.jsonl",
        "model": "model",
        "costs": {"hourly_wage": 60, "minutes_per_row": 2},
        "context": {"requests_per_day": 10_000},
    }
    (folder / "burnish.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


@pytest.fixture
def run(task: Path, tmp_path: Path) -> Path:
    """A finished run of the task as far as its costs are concerned."""
    from burnish.config import load_task

    folder = tmp_path / "runs" / "tiny-20261124-101500-abcdef"
    folder.mkdir(parents=True)
    config = load_task(task).config.model_dump(mode="json", by_alias=True)
    record: dict[str, Any] = {"run_id": folder.name, "name": "tiny", "status": "done", "config": config}
    record["training"] = {"seconds": 7200.0}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    split = {"train": ["a"] * 40, "validation": ["b"] * 10, "test": ["c"] * 10, "sealed_hash": "x"}
    (folder / "split.json").write_text(json.dumps(split), encoding="utf-8")
    systems = {
        name: {
            "system": name,
            "split": "test",
            "examples": 10,
            "metrics": {"accuracy": {"value": 0.5, "low": 0.2, "high": 0.8, "method": "wilson", "level": 0.95}},
            "seconds_per_example": seconds,
            "prompt_tokens": tokens,
            "completion_tokens": 5.0,
            "tables": {},
        }
        for name, tokens, seconds in (("majority", 0.0, 0.0), ("few_shot", 1500.0, 2.0), ("tuned", 95.0, 0.2))
    }
    (folder / "evaluation.json").write_text(json.dumps({"systems": systems, "paired": []}), encoding="utf-8")
    return folder


def test_a_run_is_counted_with_what_it_measured(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = call("cost", run, "--watts", 500, "--price", "power/us-commercial=0.2", "--json", capsys=capsys)
    assert status == 0
    found = json.loads(out)
    here = next(one for one in found["training"] if one["where"] == "here")
    assert (here["how"], here["seconds"]) == ("measured", 7200.0)
    assert here["cost"]["value"] == pytest.approx(2 * 0.5 * 0.2)
    assert {one["where"] for one in found["training"]} >= {"gpu/l4", "gpu/h100-80gb", "api/gpt-4o-mini"}
    by_token = next(one for one in found["training"] if one["where"] == "api/gpt-4o-mini")
    assert by_token["cost"]["value"] == pytest.approx(40 * 100 * 3 * 3 / 1e6)
    assert found["preparation"]["value"] == pytest.approx(60 * 2 / 60 * 60)
    (pair,) = found["break_even"]
    assert pair["baseline"] == "few_shot"
    assert pair["saving_per_1000"] == pytest.approx(1000 * 1.8 * 0.5 * 0.2 / 3600)
    assert pair["days"] == pytest.approx((120 + 0.2) / (pair["saving_per_1000"] * 10))


def test_what_costs_the_same_is_said_to(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing here costs anything: neither is paid back, and none after 0 requests."""
    status, out = call(
        "cost", run, "--minutes-per-row", 0, "--price", "power/us-commercial=0", "--watts", 9, capsys=capsys
    )
    assert status == 0
    assert "1,000 requests cost the same" in " ".join(out.split())
    assert "0 USD saved" not in out
    assert "never paid back" not in out


def test_requests_that_have_no_price_are_not_compared(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = call("cost", run, capsys=capsys)
    assert status == 0
    assert "requests here have no price: --watts or --machine-price" in " ".join(out.split())
    assert "Against" not in out


def test_the_view_and_the_page(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "cost.html"
    status, out = call(
        "cost", run, "--serve", "api/gpt-4o-mini", "--system", "<b>big=3000,60@api/gpt-4.1", "--retrain-days", 30,
        "--html", page, capsys=capsys,
    )  # fmt: skip
    assert status == 0
    assert "Against few_shot" in out
    assert "USD spent" in out
    assert "ends in" in out or "has ended" in out
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 2
    assert "<script" not in text
    assert "<b>big" not in text
    assert "tokenmix.ai" in text
    assert "theluckystrike" in text


def test_a_task_is_counted_before_anything_is_trained(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = call("cost", task, "--serve", "api/gpt-4o-mini", "--json", capsys=capsys)
    assert status == 0
    found = json.loads(out)
    assert found["rows"] > 30
    assert [one["system"] for one in found["serving"]] == ["prompt", "tuned"]
    prompt, tuned = found["serving"]
    assert prompt["prompt_tokens"] > tuned["prompt_tokens"]
    assert next(one for one in found["training"] if one["where"] == "here")["how"] == "estimated"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--device", "h200x"], "no GPU of the catalogue"),
        (["--device", "mi300x"], "no price of this GPU"),
        (["--api", "gpt-9"], "no price of this"),
        (["--system", "big=1"], "is no system"),
        (["--serve", "moon"], "is no place"),
        (["--price", "gpu/l4"], "is no price"),
        (["--prices", "nowhere.yaml"], "cannot be read"),
    ],
)
def test_mistakes_are_told(
    run: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = call("cost", run, *arguments, "--json", capsys=capsys)
    assert status == 2
    assert expected in json.loads(out)["what"]
