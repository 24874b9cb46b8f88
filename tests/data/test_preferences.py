"""Preference rows: every shape the field uses, read to the same example; what is no pair is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.data.formats import to_example
from burnish.data.guess import guess_kind
from burnish.data.inputs import read_inputs
from burnish.data.load import read_examples
from burnish.data.preferences import transcript
from burnish.data.shapes import Columns, Rules, detect_shape
from burnish.data.streams import Row
from burnish.errors import DataError, Problem
from burnish.records import Example, Message

Q, A, B = "is it far", "No, two miles.", "Yes."
USER, GOOD, BAD = Message("user", Q), {"role": "assistant", "content": A}, {"role": "assistant", "content": B}
ASK = {"role": "user", "content": Q}
SYSTEM = {"role": "system", "content": "Be brief."}
PAIR = {"chosen": A, "rejected": B}


def convert(row: dict[str, Any], **columns: str) -> Example | Problem:
    rules = Rules("preference", Columns(**columns))
    numbered = Row(7, row)
    return to_example("rows.jsonl", numbered, detect_shape([numbered], rules), rules)


def read(row: dict[str, Any], **columns: str) -> Example:
    found = convert(row, **columns)
    assert isinstance(found, Example), found
    return found


SAME = {
    "prompt and texts": {"prompt": Q, "chosen": A, "rejected": B},
    "prompt as messages": {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
    "one message": {"prompt": [ASK], "chosen": GOOD, "rejected": BAD},
    "messages as text": {"prompt": json.dumps([ASK]), "chosen": json.dumps([GOOD]), "rejected": json.dumps([BAD])},
    "whole conversations": {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
    "whole conversations beside a prompt": {"prompt": Q, "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
    "transcripts": {"chosen": f"\n\nHuman: {Q}\n\nAssistant: {A}", "rejected": f"\n\nHuman: {Q}\n\nAssistant: {B}"},
    "an open transcript": {"prompt": f"\n\nHuman: {Q}\n\nAssistant:", "chosen": A, "rejected": B},
    "OpenAI": {"input": {"messages": [ASK], "tools": [], "parallel_tool_calls": True},
               "preferred_output": [GOOD], "non_preferred_output": [BAD]},
    "Alpaca": {"instruction": Q, "input": "", "chosen": A, "rejected": B},
    "ShareGPT": {"conversations": [{"from": "human", "value": Q}], "chosen": {"from": "gpt", "value": A},
                 "rejected": {"from": "gpt", "value": B}},
    "ShareGPT with roles": {"messages": [ASK], "chosen": GOOD, "rejected": BAD},
    "a question": {"question": Q, "chosen": A, "rejected": B, "score": 3},
}  # fmt: skip


@pytest.mark.parametrize("row", SAME.values(), ids=SAME.keys())
def test_every_shape_gives_the_same_example(row: dict[str, Any]) -> None:
    found = read(row)
    assert found.messages == (USER,)
    assert found.target == PAIR
    assert found.source.line == 7
    assert found.id == read(SAME["prompt and texts"]).id


UNPAIRED = {
    "TRL": {"prompt": Q, "completion": A, "label": True},
    "messages and label": {"messages": [ASK, GOOD], "label": True},
    "LLaMA-Factory": {"instruction": Q, "input": "", "output": A, "kto_tag": True},
    "ShareGPT": {"conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": A}], "kto_tag": True},
    "a table": {"prompt": Q, "completion": A, "label": "True"},
    "completion as messages": {"prompt": [ASK], "completion": [GOOD], "label": True},
}


@pytest.mark.parametrize("row", UNPAIRED.values(), ids=UNPAIRED.keys())
def test_rows_with_one_answer(row: dict[str, Any]) -> None:
    found = read(row)
    assert found.messages == (USER,)
    assert found.target == {"completion": A, "desirable": True}
    label = "kto_tag" if "kto_tag" in row else "label"
    other = read(row | {label: False})
    assert other.target["desirable"] is False
    assert other.id != found.id


def test_the_system_text_and_the_context_belong_to_the_prompt() -> None:
    found = read(
        {"system": "Be brief.", "instruction": "Sum up.", "input": "A long text.", "chosen": A, "rejected": B}
    )
    assert [(turn.role, turn.content) for turn in found.messages] == [
        ("system", "Be brief."),
        ("user", "Sum up.\nA long text."),
    ]
    found = read({"chosen": [SYSTEM, ASK, GOOD], "rejected": [SYSTEM, ASK, BAD]})
    assert [turn.role for turn in found.messages] == ["system", "user"]


def test_named_columns() -> None:
    row = {"q": Q, "win": A, "rejected": B}
    assert read(row, text="q", target="win").target == PAIR
    row = {"q": Q, "said": A, "label": False}
    assert read(row, text="q", target="said").target == {"completion": A, "desirable": False}


def test_answers_may_be_empty_numbers_or_truth_values() -> None:
    assert read({"prompt": Q, "chosen": "", "rejected": B}).target["chosen"] == ""
    assert read({"prompt": Q, "chosen": True, "rejected": 7}).target == {"chosen": "true", "rejected": "7"}


def test_equal_conversations_keep_their_last_turn() -> None:
    found = read({"chosen": [ASK, GOOD], "rejected": [ASK, GOOD]})
    assert found.messages == (USER,)
    assert found.target == {"chosen": A, "rejected": A}


def test_turns_of_one_speaker_are_one_turn() -> None:
    text = "\n\nHuman: a\n\nAssistant: b\n\nAssistant:  c \n\nHuman: d"
    assert [(turn.role, turn.content) for turn in transcript(text, "chosen")] == [
        ("user", "a"),
        ("assistant", "b\n\nc"),
        ("user", "d"),
    ]


WORD = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=8).filter(lambda t: t.strip())
TURNS = st.lists(st.tuples(WORD, WORD), min_size=1, max_size=4)


@given(turns=TURNS, question=WORD, answers=st.tuples(WORD, WORD).filter(lambda two: two[0].strip() != two[1].strip()))
def test_a_transcript_says_what_its_messages_say(
    turns: list[tuple[str, str]], question: str, answers: tuple[str, str]
) -> None:
    plain = [
        ("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate([t for two in turns for t in two])
    ]
    plain.append(("user", question))
    names = {"user": "Human", "assistant": "Assistant"}
    text = "".join(f"\n\n{names[role]}: {said}" for role, said in plain)
    messages = [{"role": role, "content": said.strip()} for role, said in plain]
    one = read({side: f"{text}\n\nAssistant: {answer}" for side, answer in zip(PAIR, answers, strict=True)})
    other = read(
        {
            side: [*messages, {"role": "assistant", "content": answer.strip()}]
            for side, answer in zip(PAIR, answers, strict=True)
        }
    )
    assert (one.messages, one.target) == (other.messages, other.target)


def test_pairs_of_one_prompt_are_one_group() -> None:
    one, two = read(SAME["prompt and texts"]), read({"prompt": Q, "chosen": B, "rejected": "Perhaps."})
    assert one.group == two.group
    assert one.group != read({"prompt": "another", **PAIR}).group
    rules = Rules("preference", Columns(group="who"))
    row = Row(1, SAME["prompt and texts"] | {"who": "ann"})
    made = to_example("rows.jsonl", row, detect_shape([row], rules), rules)
    assert isinstance(made, Example)
    assert made.group == "ann"


def test_files_of_preferences_are_recognised(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    for row in [*SAME.values(), *(row for row in UNPAIRED.values() if row.get("label") != "True")]:
        file.write_text(json.dumps(row) + "\n")
        assert guess_kind(file) == "preference", row
    file.write_text(json.dumps({"text": "x", "label": True}) + "\n")
    assert guess_kind(file) == "classification"


def test_other_kinds_refuse_them_and_say_which_kind_does_not(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    for row in (SAME["prompt and texts"], UNPAIRED["TRL"]):
        file.write_text(json.dumps(row) + "\n")
        with pytest.raises(DataError, match="Use kind: preference"):
            read_examples(file, kind="generation")


def test_inputs_for_prediction_with_and_without_answers(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    for row in [*SAME.values(), {"prompt": Q}, {"messages": [ASK]}, {"text": Q}]:
        file.write_text(json.dumps(row) + "\n")
        [found] = read_inputs(file, kind="preference")
        assert found.messages == (USER,), row
        assert found.target is None


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completion": "a", "label": "False"},  # as tables write it
        {"prompt": "q", "completion": "a", "label": False},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "label": False},
        {"instruction": "q", "output": "a", "kto_tag": False},
    ],
)
def test_an_unwanted_answer_is_not_taken_for_a_right_one(tmp_path: Path, row: dict[str, Any]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{json.dumps(row)}\n" * 2, encoding="utf-8")
    assert guess_kind(file) == "preference"
    (made, _) = read_examples(file, kind="preference").examples
    assert made.target == {"completion": "a", "desirable": False}
    with pytest.raises(DataError) as caught:
        read_examples(file, kind="generation")
    assert "the rows are preferences" in caught.value.problems[0].what
