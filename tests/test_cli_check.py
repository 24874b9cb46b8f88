"""`burnish check FILE`: files as people bring them."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from burnish.cli import app
from test_cli import Done


def check(*arguments: object) -> Done:
    result = CliRunner().invoke(app, ["check", *map(str, arguments), "--no-embeddings"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def test_how_a_file_is_read_can_be_set(tmp_path: Path) -> None:
    rows = [{"id": i, "problem": f"What is {i} plus {i * i}?"} for i in range(20)]
    file, answers = tmp_path / "rows.jsonl", tmp_path / "solutions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    answers.write_text(
        "".join(json.dumps({"id": i, "solution": f"It is {i + i * i}."}) + "\n" for i in range(20)), encoding="utf-8"
    )
    settings = [f"--set=data.{one}" for one in ("text=problem", "target=solution", f"answers={answers}")]
    done = check(file, "--json", *settings)
    assert done.json["rows"] == 20, done.err
    assert done.json["files"][0]["shape"] == "columns problem → solution"
    assert "--set data.text=COLUMN" in check(file).err
    assert check(file, "--kind", "extraction", "--set", "data.text=problem").status == 2
    assert "did you mean text" in check(file, "--set", "data.txet=problem").err
    assert "only the settings below data" in check(file, "--set", "training.num_epochs=1").err


def test_a_file_in_another_encoding_is_refused_as_a_whole(tmp_path: Path) -> None:
    """Its rows with accents are not damage, which --fix would drop."""
    file = tmp_path / "rows.csv"
    lines = [f"my {'café' if i % 5 == 0 else 'coffee'} order {i},{'ab'[i % 2]}" for i in range(40)]
    text = "\n".join(["text,label", *lines, ""])
    file.write_bytes(text.encode("windows-1252"))
    done = check(file, "--fix")
    assert done.status == 2
    assert f"{file}:2: the file is not UTF-8: 8 of its first 41 lines" in done.err.replace("\n", "")
    assert "iconv -f WINDOWS-1252" in done.err
    assert "guessed" not in done.err  # nothing was read to guess from
    assert list(tmp_path.iterdir()) == [file]
    file.write_bytes(text.encode().replace("café order 5,".encode(), b"caf\xe9 order 5,"))
    damaged = check(file, "--json").json["findings"]
    assert [row["line"] for one in damaged if one["kind"] == "encoding_damage" for row in one["rows"]] == [7]
    file.write_bytes(text.encode())
    assert check(file).status == 0


def test_one_is_not_told_as_many(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"text": f"question {i} about {i * i}", "label": "a"} for i in range(20)] + [{"text": "x", "label": ""}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = check(file, "--fix", "drop")
    assert "1 row cannot be used" in done.err
    assert "drop 1 row;" in done.err
    assert "\n1 class\n" in done.out


def test_a_file_of_rows_in_place_of_a_task_is_told(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\na,b\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["tokens", str(file)])
    assert result.exit_code == 2
    assert "this is a file of rows, and a task file is needed" in result.stderr
    assert "data: rows.csv" in result.stderr
