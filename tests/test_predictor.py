"""`predicting.predictor`: a tuned model answers new inputs as it was trained to, a baseline as it was measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import burnish
from burnish import choosing, prepare, searching
from burnish.errors import DataError, RunError
from burnish.models.adapters import read_info
from burnish.predicting import predictor
from burnish.records import Example, Message, Source
from burnish.runs import MANIFEST, commit_folder, read_jsonl
from chat_server import serving
from test_lifecycle import write_task
from tiny import save_tiny


def tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}}


def make_run(folder: Path, *, shared: bool) -> burnish.Run:
    """A tool-calling run on a model of random weights; each row has one tool, the same or its own."""
    save_tiny(folder / "model")
    rows = []
    for i in range(60):
        name = "lamp" if shared else f"lamp{i % 3}"
        call = {"type": "function", "function": {"name": name, "arguments": json.dumps({"on": i % 2 == 0})}}
        turns = [{"role": "user", "content": f"lamp {i}"}, {"role": "assistant", "tool_calls": [call]}]
        rows.append({"messages": turns, "tools": [tool(name)]})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings: dict[str, Any] = {
        "name": "lamps", "kind": "tool_calling", "instruction": "Switch it.", "data": "rows.jsonl", "model": "model",
        "training": {"max_steps": 2, "batch_size": 8, "eval_examples": 0, "lora_r": 2},
        "baselines": ["majority"], "generation": {"max_new_tokens": 60}, "split": {"validation": 8, "test": 12},
    }  # fmt: skip
    return burnish.run(burnish.task_from(settings, base_dir=folder), runs_dir=folder / "runs")


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> burnish.Run:
    return make_run(tmp_path_factory.mktemp("shared"), shared=True)


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> burnish.Run:
    return make_run(tmp_path_factory.mktemp("own"), shared=False)


def example(text: str, *tools: dict[str, Any]) -> Example:
    return Example("1", (Message("user", text),), None, Source("rows.jsonl", 4), tuple(tools))


def test_a_text_is_answered_with_the_tools_of_training(shared_run: burnish.Run):
    assert [t["function"]["name"] for t in read_info(shared_run.adapter).tools] == ["lamp"]
    answer = predictor(shared_run.path)
    (bare,) = answer(["lamp 3"])
    (given,) = answer([example("lamp 3", tool("lamp"))])
    assert (bare.text, bare.prompt_tokens) == (given.text, given.prompt_tokens)
    for call in bare.parsed.value or []:
        assert call["name"] == "lamp"  # the constraint of training: no other tool can be called


def test_one_tool_is_a_task_like_any_other(shared_run: burnish.Run):
    report = json.loads((shared_run.path / "data_report.json").read_text(encoding="utf-8"))
    assert report["stats"]["labels"] == {"lamp": 60}
    assert [finding for finding in report["findings"] if finding["severity"] == "error"] == []


def test_a_kept_answer_comes_back(shared_run: burnish.Run):
    kept = {p.example_id: p for p in shared_run.predictions()}
    rows = [json.loads(line) for line in (shared_run.path / "test_examples.jsonl").read_text().splitlines()]
    for new, row in zip(shared_run.predict([row["input"] for row in rows]), rows, strict=True):
        assert new.text == kept[row["id"]].text
        assert new.prompt_tokens == kept[row["id"]].prompt_tokens


def test_rows_with_tools_of_their_own_need_them(own_run: burnish.Run):
    assert read_info(own_run.adapter).tools == ()
    answer = predictor(own_run.path)
    with pytest.raises(DataError, match="brings no tools") as caught:
        answer(["lamp 3"])
    assert "tools" in str(caught.value.fix)
    (one,) = answer([example("lamp 3", tool("lamp1"))])
    (two,) = answer([replace(example("lamp 3", tool("lamp1"), tool("heating")))])
    assert two.prompt_tokens > one.prompt_tokens  # such a prompt names the tools


def test_a_metric_out_of_reach_does_not_matter(shared_run: burnish.Run, tmp_path: Path):
    run = shutil.copytree(shared_run.path, tmp_path / "run")
    file = run / "adapter" / "burnish.json"
    info = json.loads(file.read_text(encoding="utf-8"))
    info["task"]["goal"]["metric"] = "somewhere_else:score"
    file.write_text(json.dumps(info), encoding="utf-8")
    (run / "adapter" / MANIFEST).unlink()
    commit_folder(shutil.copytree(run / "adapter", tmp_path / "changed"), run / "adapter")
    assert len(predictor(run)(["lamp 3"])) == 1


BASELINES = ("majority", "prompt", "few_shot", "embedding_probe", "big")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[burnish.Run]:
    """A run with a baseline of every sort, prompted in ways chosen on validation."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch, serving(folder) as server:
        patch.setenv("BURNISH_CACHE", str(folder / "cache"))
        hosted = {"name": "big", "model": "big-1", "base_url": server.url, "api_key_env": None, "prompt": "few_shot"}
        task = write_task(
            folder,
            baselines=[*BASELINES[:4], "hosted:big"],
            hosted=[hosted],
            embedding_probe={"model": "base"},
            prompt={
                "instructions": ["Say the colour of it in a single word."],
                "eval_examples": 4,
            },
            few_shot={"k": [1, 3], "select": ["nearest", "fixed"]},
            training={"max_steps": 1, "lora_r": 4, "eval_examples": 0},
            probe="off",
        )
        yield burnish.run(task, runs_dir=folder / "runs")


@pytest.mark.parametrize("system", BASELINES)
def test_a_baseline_answers_as_it_was_measured(measured: burnish.Run, system: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(choosing, "_measure", lambda *_: pytest.fail("a way of prompting was tried again"))
    monkeypatch.setattr(prepare, "check_examples", lambda *_, **__: pytest.fail("the data were checked again"))
    monkeypatch.setattr(searching, "open_retriever", lambda *_: pytest.fail("documents were opened"))
    before = {path: path.read_bytes() for path in measured.path.rglob("*") if path.is_file()}
    kept = measured.predictions(system)
    inputs = {row["id"]: row["input"] for row in read_jsonl(measured.path / "test_examples.jsonl")}
    for new, old in zip(measured.predict([inputs[one.example_id] for one in kept], system=system), kept, strict=True):
        assert (new.text, new.parsed, new.prompt_tokens) == (old.text, old.parsed, old.prompt_tokens)
        assert new.confidence == pytest.approx(old.confidence)
    assert {path: path.read_bytes() for path in measured.path.rglob("*") if path.is_file()} == before


def test_a_system_that_was_not_measured_is_refused_with_those_that_were(measured: burnish.Run):
    with pytest.raises(RunError, match="measured no such system") as caught:
        measured.predict(["the apple"], system="rag")
    assert caught.value.got == "rag"
    assert str(caught.value.fix).startswith("it can ask: majority, prompt, few_shot, embedding_probe, big, tuned")
    adapter = measured.adapter.rename(measured.path / "elsewhere")
    try:
        with pytest.raises(RunError, match="has no tuned model") as caught:
            measured.predict(["the apple"])
        assert "few_shot" in str(caught.value.fix)
        assert len(measured.predict(["the apple"], system="majority")) == 1
    finally:
        adapter.rename(measured.adapter)


def test_a_baseline_of_other_data_is_refused(measured: burnish.Run):
    rows = measured.path.parent.parent / "rows.jsonl"
    text = rows.read_text(encoding="utf-8")
    rows.write_text(text.replace("number 7", "number 700"), encoding="utf-8")
    try:
        with pytest.raises(RunError, match="the data have changed since the run: majority"):
            measured.predict(["the apple"], system="majority")
        assert len(measured.predict(["the apple"])) == 1  # the tuned model needs none
    finally:
        rows.write_text(text, encoding="utf-8")


def test_a_baseline_needs_no_further_data_sets(tmp_path: Path):
    for name in ("chat", "notes"):
        row = json.dumps({"prompt": f"say {name}", "completion": name})
        (tmp_path / f"{name}.jsonl").write_text(f"{row}\n")
    task = write_task(
        tmp_path,
        mixture=["chat.jsonl", "notes.jsonl"],
        baselines=["majority"],
        training={"max_steps": 1, "lora_r": 4, "eval_examples": 0},
        probe="off",
    )
    run = burnish.run(task, runs_dir=tmp_path / "runs")
    kept = run.predictions("majority")[0]
    (tmp_path / "chat.jsonl").unlink()
    assert [one.text for one in run.predict(["the apple"], system="majority")] == [kept.text]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(rows.read_text().replace("number 7", "number 700"))
    with pytest.raises(RunError, match="the data have changed"):
        run.predict(["the apple"], system="majority")


def test_a_baseline_is_given_the_tools_that_the_rows_share(shared_run: burnish.Run):
    [kept] = {one.text for one in shared_run.predictions("majority")}
    [new] = shared_run.predict(["lamp 3"], system="majority")
    assert new.text == kept
    assert new.parsed.error is None


def test_embedding_models_in_folders_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    task = write_task(
        tmp_path / "task",
        baselines=["embedding_probe", "rag"],
        embedding_probe={"model": "vectors"},
        retrieval={"documents": "facts.txt", "k": 1, "model": "./vectors"},
        training={"context": "retrieved", "max_steps": 1, "lora_r": 4, "eval_examples": 0},
        probe="off",
    )
    save_tiny(tmp_path / "task" / "vectors")
    (tmp_path / "task" / "facts.txt").write_text("The apple is red. The sky is blue.\n")
    run = burnish.run(task, runs_dir=tmp_path / "runs")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    inputs = {row["id"]: row["input"] for row in read_jsonl(run.path / "test_examples.jsonl")}
    for system in ("embedding_probe", "rag", "tuned"):
        kept = run.predictions(system)[0]
        assert [one.text for one in run.predict([inputs[kept.example_id]], system=system)] == [kept.text]
