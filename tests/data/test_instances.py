"""self-instruct's rows: an example for each instance of an instruction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.data.check import check_files
from burnish.data.cleaning.clean import clean_files
from burnish.data.guess import guess_kind
from burnish.data.inputs import read_inputs
from burnish.data.load import iter_examples, read_examples
from burnish.errors import DataError, Problem

SEEDS: list[dict[str, Any]] = [
    {
        "id": "seed_task_0",
        "name": "antonym_relation",
        "instruction": "What is the relation between the given pairs?",
        "instances": [
            {"input": "Night : Day :: Right : Left", "output": "Each pair is one of opposites."},
            {"input": "Hot : Warm :: Cold : Cool", "output": "The second word is a weaker form of the first."},
        ],
        "is_classification": False,
    },
    {
        "id": "seed_task_1",
        "name": "breakfast_suggestion",
        "instruction": "Is there anything I can eat for breakfast that has no eggs?",
        "instances": [{"input": "", "output": "Yes: oatmeal with nuts and a banana."}],
        "is_classification": False,
    },
]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_every_instance_is_an_example(tmp_path: Path) -> None:
    file = write(tmp_path / "seed_tasks.jsonl", SEEDS)
    reading = read_examples(file, kind=guess_kind(file))
    assert reading.format == "self_instruct"
    assert [(one.messages[0].content, one.source.line) for one in reading.examples] == [
        ("What is the relation between the given pairs?\nNight : Day :: Right : Left", 1),
        ("What is the relation between the given pairs?\nHot : Warm :: Cold : Cool", 1),
        ("Is there anything I can eat for breakfast that has no eggs?", 2),
    ]
    assert [one.target for one in reading.examples][2] == "Yes: oatmeal with nuts and a banana."
    asked = read_inputs(file, kind="generation")
    assert [one.messages for one in asked] == [one.messages for one in reading.examples]


def test_instances_as_text_and_by_name(tmp_path: Path) -> None:
    row = SEEDS[0] | {"instances": json.dumps(SEEDS[0]["instances"]), "output": "of another column"}
    file = write(tmp_path / "rows.jsonl", [row])
    made = read_examples(file, kind="generation", format="self_instruct").examples
    assert [one.target for one in made] == [instance["output"] for instance in SEEDS[0]["instances"]]


@pytest.mark.parametrize(
    ("instances", "field", "what", "got"),
    [
        ([{"input": "a", "output": ""}], "instances[0].output", "unlabelled", "''"),
        ([{"input": "a", "output": "b"}, {"input": "c"}], "instances[1].output", "unlabelled", ""),
        ([{"input": 7, "output": "b"}], "instances[0].input", "must be a string", "7"),
        ([{"inputs": "a", "output": "b"}], "instances[0].inputs", "no such key", "'a'"),
        (["a"], "instances[0]", "must be an object", "'a'"),
        ([], "instances", "no instances", "[]"),
        ({"input": "a", "output": "b"}, "instances", "must be a list", "{'input': 'a', 'output': 'b'}"),
        ("[", "instances", "not valid JSON", "'['"),
    ],
)
def test_what_is_wrong_with_an_instance(tmp_path: Path, instances: Any, field: str, what: str, got: str) -> None:
    file = write(tmp_path / "rows.jsonl", [*SEEDS, SEEDS[0] | {"instances": instances}])
    bad = [item for item in iter_examples(file, kind="generation") if isinstance(item, Problem)]
    assert len(bad) == 1
    assert (bad[0].line, bad[0].field, bad[0].got) == (3, field, got)
    assert what in bad[0].what
    assert bad[0].fix


def test_no_instance_is_dropped_for_the_sake_of_another(tmp_path: Path) -> None:
    again = {"instruction": SEEDS[0]["instruction"], "instances": SEEDS[0]["instances"][:1]}
    both = again | {"instances": [*again["instances"], {"input": "Up : Down", "output": "They are opposites."}]}
    for rows, line in (([SEEDS[0], again], None), ([SEEDS[0], both], 2)):
        file = write(tmp_path / "rows.jsonl", rows)
        findings = check_files(file, kind="generation").report.findings
        if line is None:
            (cleaned,) = clean_files(findings, ["drop"], nested=[str(file)])
            assert cleaned.changes == {"drop": 1}
            Path(cleaned.written).unlink()
        else:
            with pytest.raises(DataError, match="2 instances") as caught:
                clean_files(findings, ["drop"], nested=[str(file)])
            assert caught.value.where == f"{file}:{line}"
