"""`burnish prompt tune`: what is asked, what is read, and whole searches with a hosted and a local model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from burnish.cli import app
from burnish.config import load_task
from burnish.errors import ConfigError
from burnish.prepare import prepare
from burnish.runs import read_json, read_jsonl
from burnish.tuning.proposals import Case, Tried, answer_schema, read_instructions, request
from burnish.tuning.write import with_instruction_line, write_instruction
from chat_server import serving
from test_lifecycle import write_task

PROPOSALS = ["Name the colour. Name it well.", "Tell me the shade.", "which COLOUR  has it?"]


def call(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], standalone_mode=False)
    return done.return_value if done.exception is None else done.exception, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))


def task_with(folder: Path, url: str) -> Path:
    """A task whose hosted model answers; as YAML with comments."""
    hosted = [{"name": "big", "model": "big-1", "base_url": url, "api_key_env": None}]
    file = write_task(folder, hosted=hosted, split={"validation": 30, "test": 24})
    values = json.loads(file.read_text())
    rest = yaml.safe_dump({key: value for key, value in values.items() if key != "instruction"}, sort_keys=False)
    file.write_text(f"# the colours\ninstruction: Which colour has it?   # a guess\n{rest}")
    return file


def test_a_better_instruction_is_found_measured_and_written(tmp_path):
    with serving(tmp_path, needs="Name it", proposals=PROPOSALS) as server:
        task = task_with(tmp_path, server.url)
        before = task.read_text()
        options = ("--system", "hosted:big", "--model", "big", "--rounds", 2, "--runs-dir", tmp_path / "runs")
        status, out, _ = call("prompt", "tune", task, *options, "--json")
        asked = server.requests
    assert status == 0
    result = json.loads(out)
    assert result["instruction"] == PROPOSALS[0]
    assert [trial["instruction"] for trial in result["trials"]] == ["Which colour has it?", *PROPOSALS[:2]]
    assert result["trials"][1]["value"] == 1.0
    assert result["gain"]["difference"] == pytest.approx(1.0 - result["trials"][0]["value"])
    assert result["gain"]["low"] > 0
    assert any("looks better than it is" in remark for remark in result["remarks"])
    assert task.read_text() == before
    new = Path(result["written"])
    assert new.name == "burnish.prompt.yaml"
    assert new.read_text() == before.replace("Which colour has it?", PROPOSALS[0])
    assert load_task(new).config.instruction == PROPOSALS[0]
    page = (Path(result["path"]) / "prompt-tuning.html").read_text()
    assert "points against the task file" in page
    assert "<script" not in page
    for trial in result["trials"]:
        assert trial["instruction"] in page
    # A round that finds nothing wrong does not ask for more, and the sealed test was shown to nobody.
    writers = [line for line in asked if "new instructions" in line["body"]["messages"][-1]["content"]]
    assert len(writers) == 1
    assert "The model's answer: green" in writers[0]["body"]["messages"][-1]["content"]
    sealed = {example.messages[-1].content for example in prepare(load_task(task)).split.test}
    assert len(sealed) == 24
    seen = json.dumps(asked)
    assert not any(f'{text}"' in seen or f"{text}\\\\n" in seen for text in sealed)


def test_no_gain_is_said_and_nothing_written(tmp_path):
    with serving(tmp_path, needs="never said", proposals=["Say something."]) as server:
        task = task_with(tmp_path, server.url)
        options = ("--system", "big", "--model", "big", "--rounds", 1, "--runs-dir", tmp_path / "runs", "--write")
        before = task.read_text()
        status, out, _ = call("prompt", "tune", task, *options)
    assert status == 0
    assert "None of 1 other instructions was better than the task file's own: keep it." in " ".join(out.split())
    assert "written" not in out
    assert task.read_text() == before
    assert list(tmp_path.glob("*.prompt.yaml")) == []


def test_a_model_that_writes_no_instruction_is_told_as_that(tmp_path):
    with serving(tmp_path, needs="never said", proposals=[]) as server:
        task = task_with(tmp_path, server.url)
        options = ("--system", "big", "--model", "big", "--rounds", 1, "--runs-dir", tmp_path / "runs")
        status, out, _ = call("prompt", "tune", task, *options)
    assert status == 0
    assert "wrote no other instruction that could be tried" in " ".join(out.split())


def test_killed_and_resumed_measures_and_pays_for_nothing_twice(tmp_path):
    with serving(tmp_path, needs="never said", proposals=["One.......", "Two......."], delay=0.05) as server:
        task, runs = task_with(tmp_path, server.url), tmp_path / "runs"
        command = [
            "prompt",
            "tune",
            str(task),
            "--system",
            "big",
            "--model",
            "big",
            "--runs-dir",
            str(runs),
            "--rounds",
            "1",
        ]
        process = subprocess.Popen([sys.executable, "-m", "burnish", *command, "--quiet"], env=os.environ)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline and not list(runs.glob("prompt-*/rounds.jsonl")):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        status, _, _ = call(*command, "--resume")
        assert status == 0
        bodies = [json.dumps(line["body"], sort_keys=True) for line in server.requests]
        again = len(bodies) - len(set(bodies))
        assert again <= 4  # what was under way when it was killed
        [folder] = runs.glob("prompt-*")
        assert len(read_jsonl(folder / "trials.jsonl")) == 3
        count = len(bodies)
        status, _, _ = call(*command, "--resume")
        assert status == 0
        assert len(server.requests) == count
        status, _, errors = call(*command, "--resume", "--set", "seed=8")
        assert status == 2
        assert "the task has changed" in errors
        assert read_json(folder / "prompt-tuning.json")["rounds"] == 1


def test_a_model_on_this_machine_writes_too(tmp_path):
    """A model of random weights writes nonsense, held to the form of the answer."""
    task = write_task(tmp_path, split={"validation": 8, "test": 24})
    about = json.loads((tmp_path / "model" / "config.json").read_text()) | {"max_position_embeddings": 4096}
    (tmp_path / "model" / "config.json").write_text(json.dumps(about))
    options = [
        "--rounds",
        1,
        "--candidates",
        1,
        "--examples",
        4,
        "--runs-dir",
        tmp_path / "runs",
        "--json",
        "--quiet",
    ]
    status, out, _ = call("prompt", "tune", task, *options)
    assert status == 0
    result = json.loads(out)
    assert result["examples"] == 4
    assert result["rounds"] == 1
    [folder] = (tmp_path / "runs").glob("prompt-*")
    [line] = read_jsonl(folder / "rounds.jsonl")
    assert line["answer"].startswith('{"instructions"')


def test_mistakes(tmp_path):
    task = write_task(tmp_path)
    status, _, errors = call("prompt", "tune", task, "--system", "tuned", "--runs-dir", tmp_path / "runs")
    assert status == 2
    assert "one of prompt, few_shot" in errors
    status, _, errors = call("prompt", "tune", task, "--resume", "--runs-dir", tmp_path / "runs")
    assert status == 2
    assert "there is no search of this task" in errors
    status, _, errors = call("prompt", "tune", task, "--rounds", 1, "--runs-dir", tmp_path / "runs")
    assert status == 2
    assert "name another model with --model" in errors
    status, _, errors = call("prompt", "tune", task, "--model", "./nope", "--runs-dir", tmp_path / "runs")
    assert status == 2
    assert "there is no such model file or folder" in errors
    assert "trial 0" not in errors


# --- what is asked and read ---


def test_what_the_writer_is_told():
    best = Tried("Do it.", 0.5)
    mistakes, good = [Case("in 1", "right 1", "wrong 1")], [Case("in 2", "right 2", None)]
    [system, user] = request(best, [Tried("Older.", 0.25)], mistakes, good, metric="accuracy", count=3)
    assert (system.role, user.role) == ("system", "user")
    for text in (
        "Write 3 new instructions",
        "(accuracy 0.500):\nDo it.",
        "0.250: Older.",
        "right 1",
        "wrong 1",
        "in 2",
    ):
        assert text in user.content


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"instructions": ["Say the colour.", "say THE colour", "Known one."]}', ["Say the colour."]),
        ('Sure!\n```json\n{"instructions": ["First one.", "Second one."]}\n```', ["First one.", "Second one."]),
        ('["A plain list.", 3, ""]', ["A plain list."]),
        ('{"instructions": ["It was cut off here.", "and thi', ["It was cut off here."]),
        ("1. Name the colour.\n2) Say its colour now.", ["Name the colour.", "Say its colour now."]),
        ("", []),
        ('{"instructions": "none"}', []),
    ],
)  # fmt: skip
def test_reading_instructions(text, found):
    assert read_instructions(text, ["known  ONE"], 4) == found


@given(st.text(max_size=200), st.integers(1, 5))
def test_no_answer_breaks_the_reader(text, count):
    found = read_instructions(text, ["x"], count)
    assert len(found) <= count
    assert len({one.casefold() for one in found}) == len(found)


def test_the_schema_of_the_answer():
    import jsonschema

    jsonschema.validate({"instructions": ["a"]}, answer_schema(2))
    for wrong in ({"instructions": []}, {"instructions": ["a"] * 3}, {}, {"instructions": ["a"], "b": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, answer_schema(2))


# --- the task file ---

NEW = 'Say: it\'s "new" # – really'


@pytest.mark.parametrize(
    "written",
    [
        "instruction: Do it.\n",
        "instruction: Do it.   # why\n",
        'instruction: "Do # it."\n',
        "instruction: >\n  Do it\n  so.\n\n",
        "instruction: |-\n  Do it.\n\n  So.\n",
        "instruction:\n  Do it\n  so.\n# a comment\n",
        "system_prompt: Do it.\n",
    ],
)
def test_the_instruction_is_changed_and_nothing_else(tmp_path, written):
    (tmp_path / "rows.jsonl").touch()
    head, rest = "# head\nname: t\nkind: generation\n", "data: rows.jsonl\nseed: 3 # three\n"
    file = tmp_path / "burnish.yaml"
    file.write_text(head + written + rest)
    write_instruction(load_task(file), NEW, tmp_path / "new.yaml")
    text = (tmp_path / "new.yaml").read_text()
    assert text.startswith(head)
    assert text.endswith(rest)
    assert load_task(tmp_path / "new.yaml").config.instruction == NEW
    assert ("# why" in text) == ("# why" in written)
    assert ("# a comment" in text) == ("# a comment" in written)


def test_what_cannot_be_edited_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    file = tmp_path / "burnish.yaml"
    file.write_text('{"name": "t", "kind": "generation", "instruction": "x", "data": "rows.jsonl"}')
    with pytest.raises(ConfigError, match="write it by hand"):
        write_instruction(load_task(file), NEW, tmp_path / "new.yaml")
    assert with_instruction_line("a: 1\n", "f", NEW) == "a: 1\n"
