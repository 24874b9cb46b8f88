"""Mixture and replay in a run: what is trained on, kept, refused, resumed."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import pytest

import burnish
from burnish.config import task_from
from burnish.data.mixture import Extra
from burnish.errors import ConfigError, DataError, RunError, TrainingError
from burnish.mixing import answered, keep_mixture, mixed_rows, read_extras, write_answers
from burnish.models.layout import Labelled, Span
from burnish.progress import Silent
from burnish.records import Example, Message, Source
from burnish.runs import new_run, read_json, read_jsonl
from burnish.training.objectives.base import Item
from test_lifecycle import write_task
from tiny import tiny_loaded

QUICK = {"max_steps": 2, "batch_size": 8, "lora_r": 4, "eval_examples": 0}


def own(count):
    return [Item((Labelled((1, 5, 6, 2), (Span(2, 4),)),), 1.0, Source("own.jsonl", n)) for n in range(1, count + 1)]


def chat_rows(count):
    return tuple(
        Example(f"{n:016x}", (Message("system", "be kind"), Message("user", f"hi {n}")), f"hello {n}",
                Source("chat.jsonl", n))
        for n in range(1, count + 1)
    )  # fmt: skip


def mix(extras, *, rows=90, max_length=200, epochs=3):
    _, chat = tiny_loaded()
    return chat, mixed_rows(
        own(rows), extras, chat=chat, max_length=max_length, turns="last", epochs=epochs, progress=Silent()
    )


def test_an_epoch_holds_all_own_rows_and_the_shares():
    extras = (Extra("chat", chat_rows(12), None, 0.1), Extra("faq", chat_rows(4), 0.5, None))
    chat, mixed = mix(extras)
    for number in range(4):
        files = Counter(mixed.rows[place].source.file for place in mixed.epoch(number))
        assert files == {"own.jsonl": 90, "chat.jsonl": 2 + 10}
        assert len({place for place in mixed.epoch(number) if place < 90}) == 90
    assert mixed.epoch(0) != mixed.epoch(1)
    assert [one["per_epoch"] for one in mixed.about] == [10, 2]
    assert mixed.about[0]["share_of_epoch"] == pytest.approx(10 / 102, abs=1e-4)
    # A replayed row keeps its own turns and learns its own answer.
    [row] = [item for item in mixed.rows if item.source == Source("chat.jsonl", 3)][:1]
    tokens = row.sequences[0].tokens
    [span] = row.sequences[0].spans
    assert chat.tokenizer.decode(tokens[: span[0]]) == "<s>system\nbe kind</s>\n<s>user\nhi 3</s>\n<s>assistant\n"
    assert chat.tokenizer.decode(tokens[span[0] : span[1]]) == "hello 3</s>"


def test_without_further_data_sets_nothing_changes():
    _, mixed = mix(())
    assert mixed.rows == own(90)
    assert mixed.epoch(0) == mixed.epoch(5) == list(range(90))
    assert mixed.about == []


def test_rows_too_long_are_left_out_and_none_left_is_an_error():
    rows = chat_rows(5)
    long = Example("f" * 16, (Message("user", "x" * 300),), "y", Source("chat.jsonl", 9))
    _, mixed = mix((Extra("chat", (*rows, long), 1.0, None),))
    assert len(mixed.rows) == 95
    assert Counter(mixed.rows[place].source.file for place in mixed.epoch(0)) == {"own.jsonl": 90, "chat.jsonl": 6}
    with pytest.raises(TrainingError, match="no row of chat"):
        mix((Extra("chat", (long,), 1.0, None),))


def test_pairs_are_not_mixed_with_chat():
    pair = [item._replace(sequences=item.sequences * 2) for item in own(3)]
    _, chat = tiny_loaded()
    with pytest.raises(TrainingError, match="not with pairs"):
        mixed_rows(
            pair, (Extra("chat", chat_rows(2), 1.0, None),), chat=chat, max_length=100, turns="last", epochs=1,
            progress=Silent(),
        )  # fmt: skip


class Parrot:
    """An engine that repeats the prompt's length; every third answer is cut."""

    def __init__(self, chat):
        self.chat, self.asked = chat, 0

    def generate(self, requests, *, on_progress=None):
        self.asked += len(requests)
        return [
            SimpleNamespace(text=f"answer {n}", finish="length" if n % 3 == 0 else "stop")
            for n, _ in enumerate(requests)
        ]


def test_the_untuned_model_answers_once_and_cut_answers_are_left_out(tmp_path):
    _, chat = tiny_loaded()
    parrot, path = Parrot(chat), tmp_path / "replay.jsonl"
    extras = (Extra("faq", chat_rows(2), 1.0), Extra("replay", chat_rows(9), None, 0.05, base_answers=True))
    for _ in range(2):
        write_answers(extras, path, lambda: parrot, Silent(), own=90, epochs=3)
    assert parrot.asked == 9
    assert [line["cut"] for line in read_jsonl(path)] == [n % 3 == 0 for n in range(9)]
    faq, replay = answered(extras, path)
    assert faq == extras[0]
    assert [row.target for row in replay.rows] == [f"answer {n}" for n in range(9) if n % 3]
    assert replay.size == 6
    _, mixed = mix((replay,))
    learned = [item.sequences[0] for item in mixed.rows if item.source.file == "chat.jsonl"]
    assert [chat.tokenizer.decode(one.tokens[one.spans[0][0] : one.spans[0][1]]) for one in learned] == [
        f"answer {n}</s>" for n in range(9) if n % 3
    ]


def test_no_more_rows_are_answered_than_are_seen(tmp_path):
    parrot = Parrot(tiny_loaded()[1])
    extras = (Extra("replay", chat_rows(40), None, 0.05, base_answers=True),)
    write_answers(extras, tmp_path / "replay.jsonl", lambda: parrot, Silent(), own=95, epochs=1.5)
    assert parrot.asked == 10  # five an epoch, two epochs begun


def test_without_answers_of_the_untuned_model_nobody_is_asked(tmp_path):
    extras = (Extra("faq", chat_rows(2), 1.0),)
    path = tmp_path / "replay.jsonl"
    write_answers(extras, path, lambda: pytest.fail("nobody is asked"), Silent(), own=9, epochs=1)
    assert not path.exists()
    assert answered(extras, path) == extras


def test_a_run_with_replay_keeps_its_counts(tmp_path):
    replay = {"share": 0.2, "answers": "given"}
    task = write_task(tmp_path, replay=replay, training=QUICK, baselines=["majority"], probe=False)
    run = burnish.run(task, runs_dir=tmp_path / "runs")
    [replay] = run.summary()["mixture"]
    assert (replay["name"], replay["per_epoch"], replay["share_of_epoch"]) == ("replay", 30, 0.2)
    assert (replay["rows"], replay["answers"]) == (64, "given")
    assert run.forgetting is None
    page = run.report.read_text(encoding="utf-8")
    assert "What an epoch holds" in page
    assert "| replay | 30 | 20.0% | given |" in (run.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    split = read_json(run.path / "split.json")
    assert {len(split[part]) for part in ("train", "validation", "test")} == {120, 16, 24}


def test_a_row_that_asks_what_the_test_asks_stops_the_run(tmp_path):
    lines = [{"prompt": f"THE apple  number {i}", "completion": "red"} for i in range(0, 160, 4)]
    (tmp_path / "faq.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = write_task(tmp_path, mixture=["faq.jsonl"], training=QUICK)
    with pytest.raises(DataError, match="mixture_leak") as caught:
        burnish.run(task, runs_dir=tmp_path / "runs")
    assert "faq" in str(caught.value)


def test_a_resumed_run_finds_the_same_data_sets(tmp_path):
    folder = new_run(tmp_path, "mix", {})
    extras = (Extra("faq", chat_rows(4), 1.0, None),)
    keep_mixture(folder, extras)
    keep_mixture(folder, extras)
    for other in ((), (Extra("faq", chat_rows(5), 1.0, None),), (*extras, Extra("more", chat_rows(2), 1.0, None))):
        with pytest.raises(RunError, match="have changed"):
            keep_mixture(folder, other)


BASE = {"name": "t", "kind": "generation", "instruction": "Do.", "data": "rows.jsonl"}


def read(folder, **changes):
    for name in ("rows.jsonl", "a.jsonl", "b.jsonl"):
        (folder / name).write_text('{"prompt": "p", "completion": "c"}\n')
    return task_from(BASE | changes, folder)


def test_settings_have_short_forms_and_defaults(tmp_path):
    config = read(tmp_path, mixture=["a.jsonl", {"file": ["b.jsonl"], "share": 0.2, "name": "bee"}]).config
    assert [source.file for source in config.mixture] == [[tmp_path / "a.jsonl"], [tmp_path / "b.jsonl"]]
    assert read(tmp_path, probe=False).config.probe.enabled is False
    assert read(tmp_path, probe="off").config.probe.enabled is False
    assert read(tmp_path, probe="a.jsonl").config.probe.file == tmp_path / "a.jsonl"
    extras = read_extras(read(tmp_path, mixture=["a.jsonl"], replay={"share": 0.1}), Silent())
    assert [(one.name, one.weight, one.share, one.base_answers) for one in extras] == [
        ("a", 1.0, None, False), ("replay", None, 0.1, True),
    ]  # fmt: skip
    [given] = read_extras(read(tmp_path, replay={"share": 0.1, "file": "a.jsonl"}), Silent())
    assert not given.base_answers
    assert read_extras(read(tmp_path), Silent()) == ()


@pytest.mark.parametrize(
    ("changes", "field", "what"),
    [
        ({"mixture": [{"file": "a.jsonl", "weight": 1, "share": 0.1}]}, "mixture[0].share", "not both"),
        (
            {"mixture": [{"file": "a.jsonl", "share": 0.6}], "replay": {"share": 0.5}},
            "mixture",
            "no room for the task",
        ),
        ({"mixture": [{"file": "rows.jsonl"}]}, "mixture[0].file[0]", "in data.train already"),
        ({"mixture": [{"file": "nowhere.jsonl"}]}, "mixture[0].file[0]", "no such data file"),
        ({"mixture": [{"file": "a.jsonl", "wieght": 2}]}, "mixture[0].wieght", "unknown"),
        ({"mixture": [{"file": "a.jsonl", "weight": 0}]}, "mixture[0].weight", "above 0"),
        ({"replay": {"share": 0.1}, "training": {"objective": "orpo"}}, "training.objective", "single answers"),
        ({"replay": {"share": 0.95}}, "replay.share", "from 0 to 0.9"),
        ({"replay": {"share": 0.1, "file": "nowhere.jsonl"}}, "replay.file[0]", "no such data file"),
        ({"probe": "nowhere.jsonl"}, "probe.file", "no such data file"),
        ({"goal": {"forgetting": 5}}, "goal.forgetting", "from 0 to 1"),
    ],
)
def test_settings_that_make_no_sense_name_their_place(tmp_path, changes, field, what):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, **changes)
    found = [(problem.field, problem.what) for problem in caught.value.problems]
    assert any(where == field and what in told for where, told in found), found


def test_settings_without_effect_are_told(tmp_path):
    notices = read(tmp_path, replay={"file": "a.jsonl"}, probe=False, goal={"forgetting": 0.1}).notices
    assert any("replay is not used" in notice for notice in notices)
    assert any("goal.forgetting is not checked" in notice for notice in notices)


def test_a_name_used_twice_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="one name"):
        read_extras(read(tmp_path, mixture=["a.jsonl", {"file": "b.jsonl", "name": "a"}]), Silent())
