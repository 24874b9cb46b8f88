"""Whole runs that answer from documents, on a tiny model of random weights."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

import burnish
from burnish.cli import app
from burnish.cli.estimate import of_task
from burnish.errors import DataError, RunError
from burnish.fit import chat_of, load_base, rows_of
from burnish.models.adapters import read_info
from burnish.prepare import prepare_checked, token_counter
from burnish.progress import Silent
from burnish.retrieving import with_retrieved
from burnish.runs import read_json, read_jsonl
from burnish.searching import Documents
from burnish.systems.retrieval import Retriever
from tiny import save_tiny

ANIMALS = ("cat", "dog", "owl", "bee", "fox", "ant", "elk", "hen")


def write_task(folder: Path, **changes) -> Path:
    """Questions on eight documents, the last of which no question is about."""
    (folder / "documents").mkdir(parents=True)
    save_tiny(folder / "model")
    for place, name in enumerate(ANIMALS):
        (folder / "documents" / f"{name}.txt").write_text(f"The {name} lives in house {place}.\n")
    rows = [
        {"question": f"Where does the {name} live, {ask}?", "answers": [f"house {place}"], "doc": f"{name}.txt"}
        for place, name in enumerate(ANIMALS[:-1])
        for ask in ("please", "tell me", "I ask", "do you know")
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "name": "animals",
        "kind": "generation",
        "instruction": "Answer.",
        "data": {"train": "rows.jsonl", "text": "question", "target": "answers", "document": "doc"},
        "retrieval": {"documents": "documents", "k": [1, 2]},
        "prompt": {"eval_examples": 2},
        "goal": {"metric": "token_f1"},
        "model": "model",
        "baselines": ["rag"],
        "training": {"context": "retrieved", "max_steps": 2, "batch_size": 4, "lora_r": 4, "eval_examples": 2},
        "generation": {"max_new_tokens": 4},
        "split": {"validation": 4, "test": 6},
        "probe": "off",
    } | changes
    (folder / "burnish.yaml").write_text(json.dumps(task))
    return folder / "burnish.yaml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieving")
    return burnish.run(write_task(folder / "task"), runs_dir=folder / "runs")


def test_every_answer_names_its_sources(finished):
    asked = {row["id"]: row["input"] for row in read_jsonl(finished.path / "test_examples.jsonl")}
    for system in ("rag", "tuned"):
        for answer in finished.predictions(system):
            animal = next(name for name in ANIMALS if f"the {name} " in asked[answer.example_id])
            assert answer.ranking[0] == f"{animal}.txt"
            assert answer.sources[0].text == f"The {animal} lives in house {ANIMALS.index(animal)}."
            assert answer.sources[0].place == "line 1"
            assert answer.sources[0].file.endswith(f"documents/{animal}.txt")


def test_retrieval_is_reported_apart(finished):
    for system in ("rag", "tuned"):
        table = finished.summary()["systems"][system]["retrieval"]
        assert table["recall"]["1"]["value"] == 1.0
        assert sum(table["outcomes"].values()) == table["examples"] == 6
        assert table["outcomes"]["wrong_context"] == 0
    page, card = finished.report.read_text(encoding="utf-8"), (finished.path / "MODEL_CARD.md").read_text("utf-8")
    assert "wrong, with the passage there" in page
    assert "recall at 5 100.0%" in card
    shown = CliRunner().invoke(app, ["show", str(finished.path)])
    assert "Recall at 5" in " ".join(shown.output.split())


def test_the_number_of_passages_is_chosen_once_and_kept_with_the_adapter(finished):
    tried = read_jsonl(finished.path / "prompts.jsonl")
    assert [(trial["system"], trial["k"]) for trial in tried] == [("rag", 1), ("rag", 2)]
    best = min(tried, key=lambda trial: (-trial["value"], trial["prompt_tokens"]))["k"]
    assert read_info(finished.adapter).task["retrieval"]["k"] == best
    assert {len(answer.sources) for system in ("rag", "tuned") for answer in finished.predictions(system)} == {best}
    about = read_json(finished.path / "run.json")["retrieval"]
    assert (about["documents"], about["passages"]) == (8, 8)


def test_the_tuned_model_is_trained_and_asked_with_passages(finished):
    tokens = {system: finished.summary()["systems"][system]["prompt_tokens"] for system in ("rag", "tuned")}
    assert tokens["tuned"] > 60, "a question alone is shorter"
    rows = {row["id"]: row["input"] for row in read_jsonl(finished.path / "test_examples.jsonl")}
    measured = finished.predictions("tuned")[:3]
    again = finished.predict([rows[answer.example_id] for answer in measured])
    assert [answer.text for answer in again] == [answer.text for answer in measured]
    assert [answer.sources for answer in again] == [answer.sources for answer in measured]


def test_predict_cites(finished):
    found = CliRunner().invoke(app, ["predict", str(finished.path), "Where does the owl live?", "--json", "--quiet"])
    line = json.loads(found.stdout.splitlines()[-1])
    assert line["sources"][0]["document"] == "owl.txt"
    assert line["sources"][0]["place"] == "line 1"
    assert line["sources"][0]["text"] == "The owl lives in house 2."


def test_retrieval_alone_is_asked_with_the_documents_as_they_are_now(finished):
    rows = {row["id"]: row["input"] for row in read_jsonl(finished.path / "test_examples.jsonl")}
    measured = finished.predictions("rag")
    again = finished.predict([rows[answer.example_id] for answer in measured], system="rag")
    assert [(answer.text, answer.sources) for answer in again] == [(a.text, a.sources) for a in measured]
    owl = finished.path.parent.parent / "task" / "documents" / "owl.txt"
    text = owl.read_text()
    owl.write_text("The owl lives in a tree.\n")
    try:
        [answer] = finished.predict(["Where does the owl live?"], system="rag")
    finally:
        owl.write_text(text)
    assert answer.sources[0].text == "The owl lives in a tree."
    owl.unlink()  # rows of the run name it
    try:
        assert len(finished.predict(["Where does the owl live?"], system="rag")) == 1
    finally:
        owl.write_text(text)


def test_a_document_that_is_not_there_is_named(tmp_path):
    task = write_task(tmp_path / "task")
    (tmp_path / "task" / "documents" / "owl.txt").rename(tmp_path / "task" / "documents" / "owls.txt")
    with pytest.raises(DataError) as error:
        burnish.run(task, runs_dir=tmp_path / "runs")
    assert "4 examples name a document" in str(error.value)
    assert "Did you mean owls.txt?" in str(error.value)


def run_json(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code in (0, 1), done.output
    return json.loads(done.stdout)


def test_lengths_are_those_of_what_is_trained_on(tmp_path):
    training = {"context": "retrieved", "max_steps": 1, "batch_size": 4, "lora_r": 4}
    task = write_task(tmp_path, retrieval={"documents": "documents", "k": 1}, training=training)
    loaded = burnish.load_task(task)
    prepared, report = prepare_checked(loaded)
    base = load_base(loaded, Silent())
    chat = chat_of(base)
    shown = with_retrieved(prepared, loaded.config, chat, base)
    trained = rows_of(loaded, shown, Silent(), base, chat).train
    counter = token_counter(loaded, prepared.task, Documents(loaded, Silent()).retriever, Silent())
    lengths = counter(prepared.split.train)
    assert lengths == [item.tokens for item in trained]

    tokens = run_json("tokens", task, "-n", 3)
    assert [one["tokens"] for one in tokens["examples"]] == [list(item.sequences[0].tokens) for item in trained[:3]]
    checked = run_json("check", task)
    everything = [*prepared.split.train, *prepared.split.validation, *prepared.split.test]
    longest = max(counter(everything))
    assert checked["stats"]["tokens"]["max"] == report.stats["tokens"]["max"] == longest

    # Here words alone find the passage that words and meaning find.
    question = of_task(task, [], 0, True)
    assert (question.rows, question.tokens) == (len(trained), sum(lengths))
    assert run_json("estimate", task)["passages"].startswith("1 passage an input, found by words alone")


def test_documents_are_opened_once_and_rows_searched_for_once(tmp_path, monkeypatch):
    opened, asked = [], Counter()
    search = Retriever.search

    def counted(self, texts, count):
        asked.update(texts)
        return search(self, texts, count)

    init = Retriever.__init__
    monkeypatch.setattr(Retriever, "__init__", lambda self, *given: (opened.append(1), init(self, *given))[1])
    monkeypatch.setattr(Retriever, "search", counted)
    run = burnish.run(write_task(tmp_path / "task"), runs_dir=tmp_path / "runs")
    assert opened == [1]
    parts = read_json(run.path / "split.json")
    rows = {row["id"]: row["input"] for row in read_jsonl(run.path / "test_examples.jsonl")}
    # Checked with all others, then answered by rag and by the tuned model: the time of an answer counts its search.
    assert [asked.pop(text) for text in rows.values()] == [3] * len(parts["test"])
    # Two numbers of passages are tried on two rows of the validation part.
    assert sorted(asked.values()) == [1] * (len(parts["train"]) + len(parts["validation"]) - 2) + [3, 3]


def test_lengths_have_the_most_passages_while_their_number_is_open(tmp_path):
    task = write_task(tmp_path)  # k: [1, 2]
    lengths = {}
    for k in ("[1,2]", "1", "2"):
        tokens = run_json("tokens", task, "--set", f"retrieval.k={k}", "-n", 4)
        lengths[k] = [len(one["tokens"]) for one in tokens["examples"]]
    assert lengths["[1,2]"] == lengths["2"]
    assert all(two > one for one, two in zip(lengths["1"], lengths["2"], strict=True))
    told = " ".join(CliRunner().invoke(app, ["check", str(task)]).stderr.split())
    assert "lengths are counted with 2 passages an input, the most that retrieval.k allows" in told


def test_changed_documents_stop_a_resumed_run(finished, tmp_path):
    task = write_task(tmp_path / "task", training={"context": "none", "max_steps": 1, "batch_size": 4, "lora_r": 4})
    run = burnish.run(task, runs_dir=tmp_path / "runs")
    assert run.predictions("tuned")[0].sources == ()
    record = read_json(run.path / "run.json")
    (run.path / "run.json").write_text(json.dumps(record | {"status": "failed"}))
    (run.path / "predictions" / "rag.jsonl").unlink()
    (tmp_path / "task" / "documents" / "fox.txt").write_text("The fox has moved.\n")
    with pytest.raises(RunError, match="the documents, or how they are cut, have changed"):
        burnish.run(task, runs_dir=tmp_path / "runs", resume=True)
