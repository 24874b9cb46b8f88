"""Ways of prompting tried on validation: the search itself, and what a run makes of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import burnish
from burnish import choosing
from burnish.choosing import PROMPTS, Way, best_of, choose_way, read_trials, search, ways
from burnish.config import task_from
from burnish.errors import ConfigError, DataError
from burnish.prepare import prepare
from burnish.progress import Silent
from burnish.records import PromptTrial
from burnish.reports.html import render_report
from burnish.reports.model_card import render_model_card
from burnish.reports.prompts import prompts_view
from burnish.reports.rundata import read_run
from burnish.reports.terminal import to_text
from burnish.runs import read_json, read_predictions
from test_lifecycle import write_task

INSTRUCTIONS = ["Name the colour.", "Say red, blue, green or yellow."]


def trial(way: Way, value: float, tokens: float = 10.0) -> PromptTrial:
    return PromptTrial("few_shot", way.instruction, way.k, way.select, 9, "accuracy", value, tokens, 0.1)


def table(value):
    """Measures by a function of the way, and what was measured."""
    seen: list[Way] = []

    def measure(way: Way) -> PromptTrial:
        seen.append(way)
        return trial(way, value(way))

    return measure, seen


def test_nothing_is_measured_where_there_is_no_choice():
    measure, seen = table(lambda way: 1.0)
    assert search({"k": (5,), "select": ("nearest",), "instruction": ("a",)}, measure) == Way("a", 5, "nearest")
    assert seen == []


def test_one_part_after_the_other_with_the_best_of_the_others():
    goods = {"b": 0.3, "fixed": 0.2, 3: 0.1}
    measure, seen = table(lambda way: sum(goods.get(part, 0.0) for part in way))
    values = {"k": (1, 3, 5), "select": ("nearest", "fixed"), "instruction": ("a", "b")}
    assert search(values, measure) == Way("b", 3, "fixed")
    assert seen == [
        Way("a", 1, "nearest"), Way("a", 3, "nearest"), Way("a", 5, "nearest"), Way("a", 3, "fixed"),
        Way("b", 3, "fixed"),
    ]  # fmt: skip


def test_of_equals_the_shorter_prompt_then_the_first():
    tried = [Way(name, k, "fixed") for name, k in (("a", 3), ("b", 1), ("c", 1))]
    tied = [trial(way, 0.5, 100.0 * way.k) for way in tried]
    assert best_of(tied).instruction == "b"
    assert best_of([*tied, trial(Way("d", 9, "fixed"), 0.51, 900.0)]).instruction == "d"


def test_what_a_task_file_asks_for(tmp_path):
    def asked(**changes):
        (tmp_path / "rows.jsonl").touch()
        task = {"name": "t", "kind": "generation", "instruction": "x", "data": "rows.jsonl"} | changes
        return ways(task_from(task, tmp_path).config, few=True)

    assert asked() == {"k": (5,), "select": ("nearest",), "instruction": ("x",)}
    auto = asked(few_shot={"k": "auto", "select": "auto"}, prompt=["y", "x", "y"])
    assert auto == {"k": (1, 3, 5, 10), "select": ("nearest", "embedding", "fixed"), "instruction": ("x", "y")}
    assert asked(few_shot={"k": [4, 2, 4], "select": ["fixed"]})["k"] == (2, 4)
    for wrong in ({"k": [0]}, {"k": "many"}, {"k": []}, {"select": ["near"]}, {"k": True}):
        with pytest.raises(ConfigError, match="few_shot"):
            asked(few_shot=wrong)
    with pytest.raises(ConfigError, match=r"split\.validation is 0"):
        asked(few_shot={"k": [1, 2]}, split={"validation": 0})
    with pytest.raises(ConfigError, match="must not be empty"):
        asked(prompt=["  "])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chosen")
    task = write_task(
        folder,
        baselines=["prompt", "few_shot"],
        prompt={"instructions": INSTRUCTIONS, "eval_examples": 6},
        few_shot={"k": [1, 3], "select": ["nearest", "fixed"]},
        training={"max_steps": 1, "lora_r": 4, "eval_examples": 2},
        probe="off",
    )
    return burnish.run(task, runs_dir=folder / "runs")


def test_a_run_keeps_what_it_tried_and_uses_the_best(finished):
    trials = read_trials(finished.path / PROMPTS)
    by_name = {name: [one for one in trials if one.system == name] for name in ("prompt", "few_shot")}
    assert (len(by_name["prompt"]), len(by_name["few_shot"])) == (3, 5)
    assert {one.examples for one in trials} == {6}
    tokens = {one.instruction: one.prompt_tokens for one in by_name["prompt"]}
    assert len(set(tokens.values())) == 3
    used = read_predictions(finished.path / "predictions" / "prompt.jsonl")
    mean = sum(prediction.prompt_tokens for prediction in used) / len(used)
    nearest = min(tokens, key=lambda instruction: abs(tokens[instruction] - mean))
    assert nearest == best_of(by_name["prompt"]).instruction


def test_the_choice_is_no_look_at_the_sealed_test(finished):
    assert finished.verdict.looks == 1


def test_reports_show_what_was_tried(finished):
    data = read_run(finished.path)
    page, card, view = render_report(data), render_model_card(data), to_text(prompts_view(data.prompts))
    heading = "few_shot: 5 ways of prompting tried on 6 validation examples"
    assert f"{heading}; the first is used" in view
    assert f"{heading}; the first is used" in page
    assert "few\\_shot: 5 ways of prompting tried on 6 validation examples" in card
    for text in INSTRUCTIONS:
        assert text in page
        assert text in view


def test_a_resumed_run_tries_nothing_again(finished, monkeypatch):
    """Its answers gone and one trial lost, as after a kill: the lost one alone is measured again."""
    record = read_json(finished.path / "run.json")
    (finished.path / "run.json").write_text(json.dumps(record | {"status": "failed"}))
    (finished.path / "predictions" / "few_shot.jsonl").unlink()
    lines = (finished.path / PROMPTS).read_text().splitlines(keepends=True)
    (finished.path / PROMPTS).write_text("".join(lines[:-1]))
    before = read_trials(finished.path / PROMPTS)
    measured, real = [], choosing._measure
    monkeypatch.setattr(choosing, "_measure", lambda name, way, *rest: measured.append(way) or real(name, way, *rest))
    task = finished.path.parent.parent / "burnish.yaml"
    assert burnish.run(task, runs_dir=finished.path.parent, resume=True).path == finished.path
    assert len(measured) == 1
    after = read_trials(finished.path / PROMPTS)
    assert after[:-1] == before
    assert json.loads(lines[-1])["value"] == after[-1].value


def test_a_choice_without_validation_examples_is_refused(tmp_path):
    loaded = burnish.load_task(write_task(tmp_path, prompt=INSTRUCTIONS))
    prepared = prepare(loaded)
    prepared = prepared._replace(split=replace(prepared.split, validation=()))
    with pytest.raises(DataError, match="there are none"):
        choose_way("prompt", loaded.config, prepared, tmp_path, Silent(), lambda way: None, few=False)
