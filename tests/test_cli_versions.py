"""`burnish data diff`, `lineage` and `next`: files, tasks and runs."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

import burnish
from burnish.cli import app
from burnish.data.lineage import LINEAGE, lineage_lines, read_files
from burnish.prepare import prepare
from burnish.runs import RunFolder, new_run, write_jsonl


def call(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def as_json(*arguments: object) -> Any:
    status, out, err = call(*arguments, "--json")
    assert status == 0, err or out
    return json.loads(out)


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


ROWS = [{"text": f"thing number {number}", "label": "odd" if number % 2 else "even"} for number in range(60)]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write(tmp_path / "old.jsonl", ROWS)


@pytest.fixture
def task(tmp_path: Path, old: Path) -> Path:
    text = f"name: parity\nkind: classification\ninstruction: Odd or even?\ndata: {old.name}\nseed: 3\n"
    (tmp_path / "burnish.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def a_run(task: Path, runs_dir: Path) -> RunFolder:
    """A run as it is after the split."""
    loaded = burnish.load_task(task)
    prepared = prepare(loaded)
    folder = new_run(runs_dir, "parity", loaded.config.model_dump(mode="json", by_alias=True))
    write_jsonl(folder.path / LINEAGE, lineage_lines(prepared.split))
    folder.update(data_fingerprint=prepared.fingerprint, data_files=read_files(prepared.split))
    return folder


def test_two_files(old: Path, tmp_path: Path):
    changed = {**ROWS[7], "label": "even"}
    rows = [*reversed(ROWS[:7]), changed, *ROWS[9:], {"text": "a new thing", "label": "odd"}]
    found = as_json("data", "diff", old, write(tmp_path / "new.csv.jsonl", rows))
    assert (found["same"], found["equal"]) == (58, False)
    assert [row["line"] for row in found["removed"]] == [9]
    assert [row["line"] for row in found["added"]] == [60]
    assert [(one["before"]["line"], one["after"]["line"]) for one in found["changed"]] == [(8, 8)]
    assert found["moved"]["rows"] == []
    _, out, _ = call("data", "diff", old, tmp_path / "new.csv.jsonl")
    assert "with another answer" in out
    assert f"{old}:8" in " ".join(out.split())


def test_order_and_format_make_no_difference(old: Path, tmp_path: Path):
    table = tmp_path / "same.csv"
    lines = [f"{row['text']},{row['label']}" for row in reversed(ROWS)]
    table.write_text("\n".join(["text,label", *lines, ""]), encoding="utf-8")
    found = as_json("data", "diff", old, table)
    assert found["equal"]
    assert found["a"]["fingerprint"] == found["b"]["fingerprint"]
    assert "the same rows" in call("data", "diff", old, table)[1]


def test_a_run_against_its_task_after_a_change(task: Path, old: Path, tmp_path: Path):
    run = a_run(task, tmp_path / "runs")
    found = as_json("data", "diff", "latest", task, "--runs-dir", tmp_path / "runs")
    assert found["equal"]
    assert found["a"]["fingerprint"] == found["b"]["fingerprint"]
    (task / "burnish.yaml").write_text((task / "burnish.yaml").read_text().replace("seed: 3", "seed: 4"))
    moved = as_json("data", "diff", run.path, task)["moved"]
    assert sum(moved["counts"].values()) == len(moved["rows"]) > 0
    write(old, ROWS[:50])
    assert len(as_json("data", "diff", run.path, task)["removed"]) == 10
    assert len(as_json("data", "diff", task, old)["removed"]) == 0  # a file has no parts: nothing moves


def test_lineage_of_a_run_and_of_an_example(task: Path, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run = a_run(task, tmp_path / "runs")
    at = ("--runs-dir", tmp_path / "runs")
    found = as_json("data", "lineage", "latest", *at)
    assert [(file["name"], file["now"]) for file in found["files"]] == [("old.jsonl", "unchanged")]
    assert found["data_fingerprint"] == run.record()["data_fingerprint"]
    assert any("seed 3" in step for step in found["steps"])
    (one,) = as_json("data", "lineage", "latest", "old.jsonl:17", *at)["examples"]
    assert one["line"] == 17
    assert as_json("data", "lineage", run.run_id, one["id"][:10], *at)["examples"] == [one]
    assert f"{one['id']}  {one['part']}  old.jsonl:17" in call("data", "lineage", "latest", one["id"], *at)[1]
    write(old, ROWS[:50])
    assert as_json("data", "lineage", "latest", *at)["files"][0]["now"] == "changed"
    old.unlink()
    assert "missing" in call("data", "lineage", "latest", *at)[1]


WORDS = ["parcel", "late", "where", "lost", "my", "the", "day", "is", "it"]
APART = [{"text": " ".join(Random(number).choices(WORDS, k=12)), "label": "ab"[number % 2]} for number in range(60)]
RAW = [
    *APART[:20],
    {"text": "mail anna@firm.com about thing 5", "label": "a"},
    APART[4],
    {"text": "the cafÃ© of thing 8", "label": "b"},
    *APART[20:],
]


def cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """raw.jsonl with an address (line 21), a copy (22) and damage (23); raw.clean.jsonl, which the task reads."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "raw.jsonl", RAW)
    assert call("check", "raw.jsonl", "--fix", "--no-embeddings")[0] == 0
    text = "name: parity\nkind: classification\ninstruction: Odd?\ndata: raw.clean.jsonl\nseed: 3\n"
    (tmp_path / "burnish.yaml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("of", ["raw.clean.jsonl", "latest"])
def test_rows_of_a_cleaned_copy_lead_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str):
    cleaned(tmp_path, monkeypatch)
    if of == "latest":
        a_run(tmp_path, tmp_path / "runs")
    (tmp_path / "raw.jsonl").unlink()  # whoever has redacted a file may not keep it

    def way(wanted: str) -> Any:
        (one,) = as_json("data", "lineage", of, wanted)["examples"]
        changes = [(change["kind"], change["action"]) for step in one["from"] for change in step["changes"]]
        return one["file"], one["line"], [(step["file"], step["line"]) for step in one["from"]], changes

    assert way("raw.clean.jsonl:20") == ("raw.clean.jsonl", 20, [("raw.jsonl", 20)], [])
    mail = ("raw.clean.jsonl", 21, [("raw.jsonl", 21)], [("personal_data", "redact")])
    damage = ("raw.clean.jsonl", 22, [("raw.jsonl", 23)], [("encoding_damage", "repair")])
    assert way("raw.clean.jsonl:21") == way("raw.jsonl:21") == mail
    assert way("raw.clean.jsonl:22") == way(f"{tmp_path}/raw.jsonl:23") == damage
    assert way("raw.jsonl:22") == (None, None, [("raw.jsonl", 22)], [("exact_duplicate", "drop")])
    (dropped,) = as_json("data", "lineage", of, "raw.jsonl:22")["examples"][0]["from"][0]["changes"]
    assert dropped["repeats"] == f"raw.jsonl:{RAW.index(RAW[21]) + 1}"
    assert (
        f"drop exact_duplicate, which repeats {dropped['repeats']}:" in call("data", "lineage", of, "raw.jsonl:22")[1]
    )
    assert way("raw.jsonl:63")[:3] == ("raw.clean.jsonl", 62, [("raw.jsonl", 63)])
    status, out, _ = call("data", "lineage", of, "raw.jsonl:23")
    assert status == 0
    assert "cleaned from raw.jsonl: drop 1 row, redact 1 row, repair 1 row" in " ".join(out.split())
    assert "caf\\u00c3\\u00a9 of" in out
    assert "caf\\u00e9 of" in out
    assert "anna" not in call("data", "lineage", of, "raw.jsonl:21")[1]
    status, _, err = call("data", "lineage", of, "raw.jsonl:64")
    assert status == 2
    assert "raw.jsonl:64" in err


def test_a_copy_of_a_copy_and_a_changed_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cleaned(tmp_path, monkeypatch)
    again = write(tmp_path / "raw.jsonl", [{"text": "something else", "label": "a"}, *RAW])
    for made in tmp_path.glob("raw.clean*"):
        made.unlink()
    assert call("check", again.name, "--fix", "redact", "--no-embeddings")[0] == 0
    assert call("check", "raw.clean.jsonl", "--fix", "drop", "--no-embeddings")[0] == 0
    (one,) = as_json("data", "lineage", "raw.clean.clean.jsonl", "raw.jsonl:24")["examples"]
    assert (one["line"], [step["line"] for step in one["from"]]) == (23, [24, 24])
    (one,) = as_json("data", "lineage", "raw.clean.clean.jsonl", "raw.jsonl:23")["examples"]
    assert (one["line"], [step["line"] for step in one["from"]]) == (None, [23, 23])
    write(tmp_path / "raw.clean.clean.jsonl", ROWS)
    found = as_json("data", "lineage", "raw.clean.clean.jsonl", "raw.clean.clean.jsonl:7")
    assert found["examples"][0]["from"] == []
    assert "lead no further back" in found["steps"][0]
    status, _, err = call("data", "lineage", again.name)
    assert status == 2
    assert "no log of changes" in err


@pytest.mark.parametrize("wanted", ["ffffffffffffffff", "old.jsonl:9999", "old.jsonl:x", "other.jsonl:1"])
def test_an_example_that_is_not_there(task: Path, tmp_path: Path, wanted: str):
    a_run(task, tmp_path / "runs")
    status, _, err = call("data", "lineage", "latest", wanted, "--runs-dir", tmp_path / "runs")
    assert status == 2
    assert "no such example" in err
    assert wanted in err


def test_mistakes(task: Path, old: Path, tmp_path: Path):
    status, _, err = call("data", "diff", old, tmp_path / "nothing", "--runs-dir", tmp_path / "runs")
    assert status == 2
    assert str(tmp_path / "nothing") in err
    bare = new_run(tmp_path / "runs", "bare", {})
    status, _, err = call("data", "lineage", "latest", "--runs-dir", tmp_path / "runs")
    assert status == 2
    assert "no lineage" in err
    assert bare.run_id in err


def test_next_rows_are_new_and_unsure(tmp_path: Path):
    subjects = {"travel": ("flight", "hotel", "train"), "food": ("soup", "bread", "salad")}
    rows = [
        {"text": f"{verb} the {noun} {when}", "label": label}
        for label, nouns in subjects.items()
        for noun in nouns
        for verb in ("where is", "tell me about", "who made")
        for when in ("today", "please", "now")
    ]
    write(tmp_path / "rows.jsonl", rows)
    (tmp_path / "burnish.yaml").write_text(
        "name: desk\nkind: classification\ninstruction: Which desk?\ndata: rows.jsonl\n", encoding="utf-8"
    )
    asked = [rows[0]["text"], *(f"could you {verb} my {thing}" for verb in ("book", "order", "cancel", "heat", "pack")
             for thing in ("lunch on the plane", "sandwich", "ticket", "soup", "flight"))]  # fmt: skip
    (tmp_path / "asked.txt").write_text("\n".join(asked), encoding="utf-8")
    out = tmp_path / "chosen.jsonl"
    found = as_json("data", "next", tmp_path, "--from", tmp_path / "asked.txt", "-n", 5, "--out", out)
    assert (found["labelled"], found["candidates"], len(found["chosen"])) == (54, 25, 5)
    assert rows[0]["text"] not in {row["text"] for row in found["chosen"]}
    assert all({row["likely"], row["second"]} == {"travel", "food"} for row in found["chosen"])
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == found["chosen"]
    assert "could you" in call("data", "next", tmp_path, "--from", tmp_path / "asked.txt", "-n", 5)[1]
    (tmp_path / "asked.txt").write_text(rows[0]["text"], encoding="utf-8")
    status, _, err = call("data", "next", tmp_path, "--from", tmp_path / "asked.txt")
    assert status == 2
    assert "nothing new to label" in err
