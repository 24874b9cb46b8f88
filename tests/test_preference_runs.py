"""Preference tasks through the whole line on a tiny model: every objective, what it is judged by, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import burnish
from burnish.config import task_from
from burnish.errors import DataError, RunError
from burnish.prepare import prepare, prepare_checked
from burnish.runs import read_json, read_jsonl
from tiny import save_tiny

# Whoever has seen the training pairs knows: answers about the cat are chosen, those about the dog rejected.
CHOSEN, REJECTED = ("the cat sat", "the cat sat on the mat"), ("the dog ran to the user", "the dog ran")


def pairs(count: int = 90) -> list[dict[str, Any]]:
    return [
        {"prompt": f"who is number {i}", "chosen": CHOSEN[i % 2], "rejected": REJECTED[i // 2 % 2]}
        for i in range(count)
    ]


def write_task(folder: Path, rows: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model").exists():
        save_tiny(folder / "model")
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows or pairs()))
    training = {"learning_rate": 0.01, "num_epochs": 3, "batch_size": 8, "lora_r": 4, "eval_examples": 8}
    return {
        "name": "cats",
        "kind": "preference",
        "instruction": "Answer.",
        "data": str(folder / "pairs.jsonl"),
        "model": str(folder / "model"),
        "training": training | changes.pop("training", {}),
        "split": {"validation": 10, "test": 20},
        "generation": {"max_new_tokens": 8},
    } | changes


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> burnish.Run:
    folder = tmp_path_factory.mktemp("dpo")
    return burnish.run(write_task(folder), runs_dir=folder / "runs")


def test_dpo_learns_the_preference_and_is_judged_by_its_reward(finished: burnish.Run) -> None:
    summary = finished.summary()
    assert summary["systems"].keys() == {"majority", "prompt", "tuned"}
    assert summary["metric"] == "pair_accuracy"
    assert summary["systems"]["tuned"]["pair_accuracy"]["value"] >= 0.9
    assert set(summary["systems"]["tuned"]) >= {"pair_accuracy", "length_controlled_win_rate"}
    record = read_json(finished.path / "run.json")
    assert record["judged_by"] == {"prompt": "average", "tuned": "implicit_reward"}
    assert record["config"]["training"]["objective"] == "dpo"
    for prediction in finished.predictions():
        value = prediction.parsed.value
        assert value.keys() == {"margin", "prefers", "chosen_tokens", "rejected_tokens"}
        assert value["prefers"] == ("chosen" if value["margin"] > 0 else "rejected")
        assert prediction.score["pair_accuracy"] == float(value["margin"] > 0)


def test_the_report_and_the_card_tell_it(finished: burnish.Run) -> None:
    page, card = finished.report.read_text(), (finished.path / "MODEL_CARD.md").read_text()
    assert "Length-controlled win rate" in page
    assert "implicit reward" in page
    assert "measured was which of two given answers it prefers" in card
    losses = [line["loss"] for line in read_jsonl(finished.path / "metrics.jsonl") if "loss" in line]
    assert losses[0] == pytest.approx(0.693, abs=0.02)  # -log sigmoid(0): nothing is preferred yet


def test_the_tuned_model_writes_answers(finished: burnish.Run) -> None:
    with pytest.raises(RunError, match="measured no such system") as caught:
        finished.predict(["who is number 4"], system="prompt")  # it chooses between two answers, and writes none
    assert "it can ask: tuned" in str(caught.value.fix)
    [prediction] = finished.predict(["who is number 4"])
    assert prediction.parsed.error is None or prediction.parsed.error == "empty answer"
    assert isinstance(prediction.text, str)


@pytest.mark.parametrize(
    ("training", "score"),
    [
        ({"objective": "orpo"}, "average"),
        ({"objective": "simpo"}, "average"),
        ({"objective": "sft"}, "average"),
        ({"objective": "dpo", "dpo_loss": "ipo"}, "implicit_reward"),
        ({"objective": "dpo", "method": "full", "learning_rate": 1e-3}, "average"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_every_objective_beats_chance(tmp_path: Path, training: dict[str, Any], score: str) -> None:
    run = burnish.run(write_task(tmp_path, training=training, baselines=["majority"]), runs_dir=tmp_path / "runs")
    assert run.summary()["systems"]["tuned"]["pair_accuracy"]["value"] >= 0.8
    assert read_json(run.path / "run.json")["judged_by"]["tuned"] == score


def test_kto_learns_from_single_answers_and_is_measured_on_pairs(tmp_path: Path) -> None:
    single = [
        {"prompt": row["prompt"], "completion": row["chosen" if i % 2 else "rejected"], "label": bool(i % 2)}
        for i, row in enumerate(pairs(80))
    ]
    task = write_task(tmp_path, single, training={"objective": "kto"}, baselines=["majority"])
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs(20)).replace("who", "where"))
    task["data"] = {"train": str(tmp_path / "pairs.jsonl"), "test": str(tmp_path / "test.jsonl")}
    run = burnish.run(task, runs_dir=tmp_path / "runs")
    assert run.summary()["systems"]["tuned"]["pair_accuracy"]["value"] >= 0.8
    assert read_json(run.path / "run.json")["judged_by"] == {"tuned": "implicit_reward"}


def test_single_answers_cannot_be_measured_nor_learned_by_dpo(tmp_path: Path) -> None:
    single = [{"prompt": f"q {i}", "completion": "x", "label": bool(i % 2)} for i in range(60)]
    task = write_task(tmp_path, single, training={"objective": "kto"})
    with pytest.raises(DataError, match="only a choice between two can be measured"):
        prepare(task_from(task))
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs(20)))
    task["data"] = {"train": str(tmp_path / "pairs.jsonl"), "test": str(tmp_path / "test.jsonl")}
    prepare(task_from(task))
    task["training"]["objective"] = "dpo"
    with pytest.raises(DataError, match="dpo learns from pairs") as caught:
        prepare(task_from(task))
    assert "pairs.jsonl:" in str(caught.value.where)


def test_lengths_count_the_longer_answer(tmp_path: Path) -> None:
    rows = pairs()
    rows[3]["rejected"] = "the dog ran " * 60
    report = prepare_checked(task_from(write_task(tmp_path, rows, training={"max_length": 100}))).report
    [finding] = [finding for finding in report.findings if finding.kind == "truncated"]
    assert (finding.count, finding.rows[0].line) == (1, 4)
