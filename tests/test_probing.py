"""The general probe in a run, resumed, alone on the command line, and on the starter model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import burnish
from burnish.cli import app
from burnish.data.questions import read_questions
from burnish.errors import RunError
from burnish.evaluation.forgetting import compare_probes, judge, measure
from burnish.fit import chat_of
from burnish.models.load import load_model
from burnish.probing import allowed_fall, ask, forgetting_of, probe_step
from burnish.progress import Silent
from burnish.records import ProbeAnswer
from burnish.runs import new_run, read_json, read_jsonl
from test_lifecycle import write_task
from tiny import save_tiny

QUICK = {"max_steps": 2, "batch_size": 8, "lora_r": 4, "eval_examples": 0}


def write_questions(path: Path, count: int = 12) -> Path:
    rows = [
        {"question": f"What is number {n}?", "choices": ["one", "two", "three"], "answer": n % 3}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def call(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probed")
    write_questions(folder / "questions.jsonl")
    task = write_task(folder, probe="questions.jsonl", training=QUICK, baselines=["majority"])
    return burnish.run(task, runs_dir=folder / "runs")


def test_a_run_keeps_both_probes_and_tells_the_difference(run):
    before, after = (read_jsonl(run.path / "probe" / f"{when}.jsonl") for when in ("before", "after"))
    assert len(before) == len(after) == 12
    assert before[0].keys() == {"question_id", "question", "choices", "answer", "chosen", "scores"}
    found = run.summary()["forgetting"]
    assert (found["probe"], found["questions"], found["allowed"]) == ("questions.jsonl", 12, None)
    hits = [sum(line["chosen"] == line["answer"] for line in part) / 12 for part in (before, after)]
    assert [found["before"]["value"], found["after"]["value"]] == pytest.approx(hits)
    assert found["difference"] == pytest.approx(hits[1] - hits[0])
    assert run.forgetting.questions == 12
    assert any(reason.startswith("Forgetting:") for reason in run.verdict.reasons)
    assert '<section id="forgetting"' in run.report.read_text(encoding="utf-8")
    assert "12 general questions" in call("show", run.path).stdout


def test_questions_are_not_part_of_the_sealed_test(run):
    assert {path.stem for path in (run.path / "predictions").iterdir()} == {"majority", "tuned"}
    assert run.verdict.looks == 1


def test_the_probe_can_be_off(tmp_path):
    task = write_task(tmp_path, probe=False, training=QUICK, baselines=["majority"])
    run = burnish.run(task, runs_dir=tmp_path / "runs")
    assert run.forgetting is None
    assert run.summary()["forgetting"] is None
    assert not (run.path / "probe").exists()
    assert not any("Forgetting" in reason for reason in run.verdict.reasons)


def test_what_is_answered_is_not_asked_again(tmp_path):
    folder = new_run(tmp_path, "probe", {})
    questions = read_questions(write_questions(tmp_path / "q.jsonl"))
    asked = []

    def probe(given, *, tuned):
        asked.append(tuned)
        return [ProbeAnswer(q.id, q.text, q.choices, q.answer, 0, (0.0, -1.0, -1.0)) for q in given]

    for _ in range(2):
        for when in ("before", "after"):
            probe_step(folder, when, questions, probe, Silent())
    assert asked == [False, True]
    probe_step(folder, "before", [], probe, Silent())
    assert asked == [False, True]
    config = burnish.task_from({"name": "t", "kind": "generation", "instruction": "i", "data": __file__}).config
    assert forgetting_of(folder, questions, config).difference == 0
    with pytest.raises(RunError, match="have changed"):
        forgetting_of(folder, questions[1:], config)


def test_the_command_on_a_model(tmp_path):
    model, questions = save_tiny(tmp_path / "model"), write_questions(tmp_path / "q.jsonl")
    done = call("probe", model, "--file", questions, "--json", "--quiet")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["probe"], found["questions"]) == ("q.jsonl", 12)
    assert found["chance"] == pytest.approx(1 / 3)
    assert found["right"]["low"] <= found["right"]["value"] <= found["right"]["high"]
    assert len(found["answers"]) == 12
    shown = call("probe", model, "--file", questions, "--questions", 10)
    assert "q.jsonl" in shown.stdout
    assert "10 of the 12 questions" in shown.stderr
    built_in = json.loads(call("probe", model, "--json", "--quiet").stdout)
    assert (built_in["probe"], built_in["questions"]) == ("built-in", len(read_questions()))


def test_the_command_on_a_run_equals_what_the_run_measured(run, tmp_path):
    path = write_questions(tmp_path / "questions.jsonl")
    done = call("probe", run.path, "--file", path, "--json", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["forgetting"] == run.summary()["forgetting"]
    by_id = call("probe", run.run_id[:20], "--file", path, "--runs-dir", run.path.parent, "--quiet")
    assert "12 general questions" in by_id.stdout


def test_the_command_says_what_is_wrong(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"question": "Q", "choices": ["a", "b"], "answer": "c"}\n')
    done = call("probe", save_tiny(tmp_path / "model"), "--file", tmp_path / "q.jsonl")
    assert done.exit_code == 2
    assert "q.jsonl:1:answer: names none of the choices" in done.stderr
    assert call("probe", "latest", "--runs-dir", tmp_path).exit_code == 2
    missing = call("probe", "./nowhere")
    assert missing.exit_code == 2
    assert "nowhere" in missing.stderr


@pytest.mark.parametrize(
    ("kind", "given", "allowed"),
    [
        ("generation", None, 0.05),
        ("classification", None, None),
        ("tool_calling", None, None),
        ("generation", {"forgetting": None}, None),
        ("generation", {"forgetting": "auto"}, 0.05),
        ("classification", {"forgetting": 0.1}, 0.1),
        ("classification", {"forgetting": 0}, 0.0),
    ],
)
def test_what_may_be_lost_follows_from_the_kind_unless_it_is_said(kind, given, allowed):
    values = {"name": "t", "kind": kind, "instruction": "i", "data": __file__, "goal": given or {}}
    assert allowed_fall(burnish.task_from(values).config) == allowed


@pytest.mark.model
def test_the_starter_model_is_above_chance_and_damage_is_seen():
    """The built-in questions tell a sound model from one whose weights were spoilt, and from itself not at all."""
    loaded = load_model("smollm2-135m-instruct")
    chat, questions = chat_of(loaded), read_questions()
    before = ask(loaded, chat, questions, Silent())
    sound = measure(before)
    assert sound.low > 0.25 + 0.2
    again = compare_probes(before, before, probe="built-in", allowed=0.05, seed=1)
    assert not judge(again).blocks
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if "mlp" in name:
                noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
                weight += 0.6 * weight.float().std().to(weight.dtype) * noise
    after = ask(loaded, chat, questions, Silent())
    found = compare_probes(before, after, probe="built-in", allowed=0.05, seed=1)
    assert found.difference < -0.1
    assert judge(found).blocks


def test_the_settings_of_the_run_are_kept(run):
    config = read_json(run.path / "run.json")["config"]
    assert config["goal"]["forgetting"] == "auto"
    assert config["probe"]["enabled"] is True
