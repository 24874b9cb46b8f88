"""`burnish check FILE`: files as people bring them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import CliRunner

from burnish.cli import app


class Done(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


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
