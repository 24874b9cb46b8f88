"""Reading files whole: the limit of bad rows, what is shown, what is detected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.data.guess import guess_kind
from burnish.data.inputs import read_inputs
from burnish.data.load import FileFormat, iter_examples, read_examples
from burnish.data.targets import schema_check
from burnish.errors import ConfigError, DataError, Problem
from burnish.records import Example


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def good(number: int) -> dict[str, str]:
    return {"text": f"t{number}", "label": "a"}


def test_files_of_several_shapes_are_read_in_order(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", [good(1), good(2)])
    two = write(tmp_path / "two.csv", ["text,label", "t3,a"])
    turns = [{"role": "user", "content": "t4"}, {"role": "assistant", "content": "a"}]
    three = write(tmp_path / "three.json", [{"messages": turns}])
    reading = read_examples([one, two, str(three)], kind="classification")
    assert [example.messages[0].content for example in reading.examples] == ["t1", "t2", "t3", "t4"]
    assert reading.format == "columns text → label; messages"
    assert reading.files == (
        FileFormat(str(one), "jsonl", "columns text → label", "label"),
        FileFormat(str(two), "csv", "columns text → label", "label"),
        FileFormat(str(three), "jsonl", "messages", "messages"),
    )
    assert (reading.rows, reading.bad, reading.problems) == (4, 0, ())


def test_the_first_twenty_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [good(0)] + ["oops", good(1)] * 30)
    with pytest.raises(DataError) as caught:
        read_examples(path, kind="classification")
    assert (len(caught.value.problems), caught.value.count) == (20, 30)
    assert "30 bad rows of 61" in str(caught.value)
    assert "and 10 more bad rows" in str(caught.value)
    assert "--allow-bad-rows 30" in str(caught.value)
    assert [problem.line for problem in caught.value.problems] == list(range(2, 42, 2))
    with pytest.raises(DataError):
        read_examples(path, kind="classification", allow_bad_rows=29)
    reading = read_examples(path, kind="classification", allow_bad_rows=30, show=3)
    assert (len(reading.examples), reading.bad, len(reading.problems), reading.rows) == (31, 30, 3, 61)


def test_good_rows_behind_many_bad_ones_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", ["oops"] * 3000 + [good(1)])
    reading = read_examples(path, kind="classification", allow_bad_rows=3000)
    assert (len(reading.examples), reading.bad) == (1, 3000)


def test_nothing_but_bad_rows_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", ["oops"] * 3)
    with pytest.raises(DataError) as caught:
        read_examples(path, kind="classification", allow_bad_rows=5)
    assert len(caught.value.problems) == 3
    with pytest.raises(DataError):
        read_examples([], kind="classification")


def test_a_lost_file_is_never_tolerated(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [good(1)])
    with pytest.raises(DataError) as caught:
        read_examples([path, tmp_path / "rosw.jsonl"], kind="classification", allow_bad_rows=100)
    assert str(path) in caught.value.problems[0].fix


def test_streaming_is_lazy(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [good(i) for i in range(500)])
    items = iter_examples([path, tmp_path / "none.jsonl"], kind="classification")
    assert isinstance(next(items), Example)
    assert isinstance(list(items)[-1], Problem)


def test_labels_and_schema(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [good(1)])
    assert read_examples(path, kind="classification", labels=["a", "b"]).rows == 1
    path = write(tmp_path / "targets.jsonl", [{"text": "t", "target": {"a": {"b": [1, "x"]}}}])
    schema = {"properties": {"a": {"properties": {"b": {"items": {"type": "integer"}}}}}}
    with pytest.raises(DataError) as caught:
        read_examples(path, kind="extraction", schema=schema)
    assert caught.value.problems[0].field == "target.a.b[1]"
    with pytest.raises(ConfigError) as config:
        read_examples(path, kind="extraction", schema={"properties": {"a": {"type": "text"}}})
    assert config.value.where == "schema.properties.a.type"


def test_references_are_not_fetched() -> None:
    from burnish.data.turns import BadFieldError

    inner = {"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}
    schema_check(inner)({"a": 1}, "target")
    with pytest.raises(BadFieldError):
        schema_check(inner)({"a": "1"}, "target")
    with pytest.raises(BadFieldError, match="not in it"):
        schema_check({"properties": {"a": {"$ref": "https://localhost:1/x.json"}}})({"a": 1}, "target")
    with pytest.raises(BadFieldError, match="without end"):
        schema_check({"$ref": "#"})({"a": 1}, "target")


def test_columns_that_are_not_read_are_told(tmp_path: Path) -> None:
    rows = [
        {"id": i, "context": "A passage.", "question": f"q{i}", "answer": "a", "tools": None, "note": None, "k": "g"}
        for i in range(3)
    ]
    (file,) = read_examples(write(tmp_path / "rows.jsonl", rows), kind="generation", group="k").files
    assert file.unused == ("context",)  # an id is nobody's input
    assert str(file).endswith("rows.jsonl: jsonl, columns question → answer; not used: context")
    wide = [{f"column {i}": i for i in range(9)} | {"instruction": "i", "input": "x", "output": "o"}]
    (file,) = read_examples(write(tmp_path / "rows.jsonl", wide), kind="generation").files
    assert str(file).endswith("alpaca; not used: column 0, column 1, column 2, column 3, column 4 and 4 more")
    pairs = [{"instruction": "i", "input": "x", "chosen": "a", "rejected": "b", "system": "s"}]
    (file,) = read_examples(write(tmp_path / "rows.jsonl", pairs), kind="preference").files
    assert file.unused == ()


@pytest.mark.parametrize(
    ("content", "name", "what", "fix"),
    [
        ('{"data": [{"text": "a", "label": "b"}]}', "rows.json", "whose 'data' holds the rows", "jq -c"),
        ('{"text": ["a", "b"], "label": ["c", "d"]}', "rows.json", "of columns, not of rows", "orient='records'"),
        ('{"text": {"0": "a"}, "label": {"0": "c"}}', "rows.json", "of columns, not of rows", "orient='records'"),
        ("sep=;\ntext;label\na;b\n", "rows.csv", "a note for Excel", "Remove the line"),
        ("where is my parcel,delivery\nmy bill,billing\n", "rows.csv", "none of the known shapes", "first line"),
        ('{"conversation": [{"role": "user", "content": "q"}]}\n' * 2, "rows.jsonl", "known shapes", "messages"),
        (
            '{"conversation": [{"from": "human", "value": "q"}]}\n' * 2,
            "rows.jsonl",
            "known shapes",
            "data.text: conv",
        ),
    ],
)
def test_files_that_are_laid_out_otherwise(tmp_path: Path, content: str, name: str, what: str, fix: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    (problem,) = iter_examples(path, kind="classification")
    assert isinstance(problem, Problem)
    assert what in problem.what
    assert fix in problem.fix


def test_large_letters_in_the_names_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("Text,LABEL\na,b\n", encoding="utf-8")
    reading = read_examples(path, kind=guess_kind(path))
    assert (reading.format, reading.examples[0].target) == ("columns Text → LABEL", "b")
    assert read_inputs(path, kind="classification")[0].messages == reading.examples[0].messages
    path.write_text("Instruction,Input,Output\na,b,c\n", encoding="utf-8")  # of which a part would be lost
    with pytest.raises(DataError):
        read_examples(path, kind="generation")


def test_no_row_can_be_read_is_not_to_be_allowed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": }\n' * 3, encoding="utf-8")
    with pytest.raises(DataError, match="3 bad rows of 3") as caught:
        read_examples(path, kind="classification")
    assert "none of them" in str(caught.value.fix)
