"""The command line: exit statuses, messages, JSON, help. Most of it on a tiny model of random weights."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from typer.testing import CliRunner

import burnish
from burnish.cli import app
from burnish.errors import DataError, Interrupted, Problem
from burnish.runs import find_run, new_run, read_json, read_jsonl

GROUP: Any = typer.main.get_command(app)
COMMANDS = list(GROUP.commands)
INNER = [(name, below) for name in COMMANDS for below in getattr(GROUP.commands[name], "commands", {})]
ESCAPE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
LABELS = ("red", "green", "blue", "café")


class Done(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def call(*arguments: object, stdin: str | bytes | None = None) -> Done:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    return Done(result.exit_code, result.stdout, result.stderr)


def process(*arguments: object, env: dict[str, str] | None = None, **options: Any) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "burnish", *map(str, arguments)],
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def labelled(count: int) -> list[dict[str, str]]:
    return [{"text": f"thing number {i} looks {LABELS[i % 4]}", "label": LABELS[i % 4]} for i in range(count)]


# --- help, names, versions ---


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_and_explains_every_option(name: str):
    done = call(name, "--help")
    assert done.status == 0
    assert re.search(rf"Examples:\n(  .*\n)*? +.*burnish {name}\b", done.out)
    command = GROUP.commands[name]
    assert command.help
    assert command.short_help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name} is not explained"
        if parameter.param_type_name == "option":
            assert parameter.opts[0] in done.out


@pytest.mark.parametrize(("name", "below"), INNER)
def test_help_of_a_command_in_a_group(name: str, below: str):
    done = call(name, below, "--help")
    assert done.status == 0
    assert re.search(rf"Examples:\n(  .*\n)*? +.*burnish {name} {below}\b", done.out)
    assert f"did you mean {below}?" in call(name, below + "x").err
    command = GROUP.commands[name].commands[below]
    assert command.short_help
    assert all(getattr(parameter, "help", None) for parameter in command.params)


def test_help_without_a_command():
    done = call()
    assert done.status == 0
    assert done.out == call("--help").out == call("-h").out
    assert all(re.search(rf"^  {name} +\S", done.out, re.MULTILINE) for name in COMMANDS)
    assert "..." not in done.out.partition("Commands:")[2], "a short help is cut"


@pytest.mark.parametrize("arguments", ["['--help']", "['run', '--help']", "['--version']"])
def test_light_commands_import_nothing_heavy(arguments: str):
    heavy = {"torch", "pyarrow", "numpy", "transformers", "yaml", "jinja2", "burnish.config"}
    if "run" not in arguments:
        heavy.add("pydantic")  # typer itself takes it to show the range of a number
    code = f"""
import sys
from burnish.cli import app
try:
    app({arguments})
except SystemExit:
    pass
print("LOADED", *(name for name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert "burnish.cli.app" in loaded
    assert loaded & heavy == set()


def test_version():
    assert call("version").out == call("--version").out == f"burnish {burnish.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rum"], "there is no command rum\n  fix: did you mean run?"),
        (["chekc", "x"], "did you mean check?"),
        (["xyzzy"], "`burnish --help` lists the commands"),
        (["run", "x", "--resme"], "there is no option --resme\n  fix: did you mean --resume?"),
        (["init", "x", "--kind", "clasification"], "did you mean classification?"),
        (["run"], "missing argument 'TASK'"),
        (["run", "x", "--allow-bad-rows", "many"], "'--allow-bad-rows'"),
        (["run", "x", "--allow-bad-rows", "-1"], "'--allow-bad-rows'"),
        (["tokens", "x", "-n", "0"], "'-n'"),
        (["init", "x", "extra"], "extra"),
    ],
)
def test_usage_mistakes(arguments: list[str], told: str):
    done = call(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert told in done.err
    assert "Traceback" not in done.err
    as_json = call(*arguments, "--json")
    if "--json" in [option for p in GROUP.commands.get(arguments[0], GROUP).params for option in p.opts]:
        assert as_json.json["error"] == "usage"
    assert as_json.status == 2


def test_a_text_that_looks_like_an_option_is_none():
    done = call("predict", "nothing", "--", "--json")
    assert done.status == 2
    assert done.err.startswith("error: ")  # in words: JSON was not asked for


# --- init, schema, check ---


@pytest.mark.parametrize("kind", ["classification", "extraction", "generation", "tool_calling", "preference"])
def test_init_writes_what_check_accepts(tmp_path: Path, kind: str):
    done = call("init", tmp_path / "mine", "--kind", kind)
    assert done.status == 0
    assert str(tmp_path / "mine" / "burnish.yaml") in done.out
    again = call("init", tmp_path / "mine", "--kind", kind)
    assert (again.status, again.out) == (2, "")
    assert "not overwritten" in again.err
    checked = call("check", tmp_path / "mine" / f"{kind}.jsonl", "--json")
    assert checked.status == 0
    assert f"kind: {kind} (guessed" in checked.err
    assert checked.json["rows"] == 240


def test_schema():
    assert call("schema").json["title"] == "Burnish task file"


def test_json_survives_a_stdout_without_utf8(tmp_path: Path):
    rows = write_rows(tmp_path / "rows.jsonl", labelled(120))
    done = process("check", rows, "--json", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.status == 0
    assert "café" in done.json["stats"]["labels"]
    plain = process("check", rows, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert plain.status == 0
    assert "caf\\xe9" in plain.out


def test_check_of_a_file(tmp_path: Path):
    done = call("check", write_rows(tmp_path / "rows.jsonl", [*labelled(120), labelled(1)[0]]), "--json")
    assert done.status == 0
    assert {"rows", "findings", "stats"} <= done.json.keys()
    finding = next(finding for finding in done.json["findings"] if finding["kind"] == "exact_duplicate")
    assert finding.keys() == {
        "kind", "severity", "count", "rows", "message", "advice", "why", "instead", "repeats", "within"
    }  # fmt: skip
    assert finding["rows"] == [{"file": str(tmp_path / "rows.jsonl"), "line": 121}]
    assert finding["repeats"] == [{"file": str(tmp_path / "rows.jsonl"), "line": 1}]


def test_check_of_too_few_rows_exits_1(tmp_path: Path):
    rows = write_rows(tmp_path / "rows.jsonl", labelled(5))
    assert call("check", rows).status == 1
    done = call("check", rows, "--kind", "classification", "--json")
    assert done.status == 1
    assert [f["kind"] for f in done.json["findings"] if f["severity"] == "error"] == ["too_few"]


def test_check_names_bad_rows_and_goes_on_when_allowed(tmp_path: Path):
    file = write_rows(tmp_path / "rows.jsonl", labelled(120))
    file.write_text(file.read_text(encoding="utf-8") + '{"text": "no answer"}\n{broken\n', encoding="utf-8")
    done = call("check", file)
    assert (done.status, done.out) == (2, "")
    assert f"{file}:121" in done.err
    assert f"{file}:122" in done.err
    as_json = call("check", file, "--json")
    assert as_json.status == 2
    assert (as_json.json["error"], as_json.json["count"]) == ("data", 2)
    assert [problem["line"] for problem in as_json.json["problems"]] == [121, 122]
    allowed = call("check", file, "--json", "--allow-bad-rows", 2)
    assert allowed.status == 0
    assert (allowed.json["rows"], allowed.json["bad_rows"]) == (120, 2)
    assert [problem["line"] for problem in allowed.json["problems"]] == [121, 122]
    assert "2 bad rows were left out" in allowed.err


@pytest.mark.parametrize(("given", "kinds"), [(["--fix"], {"drop", "redact"}), (["--fix", "redact"], {"redact"})])
def test_check_writes_cleaned_copies(tmp_path: Path, given: list[str], kinds: set[str]):
    rows = [*labelled(120), labelled(1)[0], {"text": "mail anna@firm.com", "label": "a"}]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    before = file.read_bytes()
    done = call("check", *given, file, "--json")
    assert file.read_bytes() == before
    assert set(done.json["fixes"][0]["changes"]) == kinds
    copy = tmp_path / "rows.clean.jsonl"
    assert "[EMAIL]" in copy.read_text(encoding="utf-8")
    assert "anna" not in done.out + done.err + (tmp_path / "rows.clean.jsonl.changes.jsonl").read_text(
        encoding="utf-8"
    )
    again = call("check", file, *given)
    assert again.status == 2
    assert "--out" in again.err
    assert call("check", file, "--fix", "dorp,redact").status == 2


@pytest.mark.parametrize("name", ["rows.csv", "folder", "task.yaml"])
def test_check_of_nothing(tmp_path: Path, name: str):
    done = call("check", tmp_path / name)
    assert done.status == 2
    assert str(tmp_path / name) in done.err
    assert "guessed" not in done.err


def test_check_of_a_task_knows_its_settings(tmp_path: Path, task: Path):
    done = call("check", task, "--json", "--set", "training.max_length=16")
    assert done.status == 0
    assert done.json["stats"]["tokens"]["of"] == 160
    assert next(f for f in done.json["findings"] if f["kind"] == "truncated")["count"] == 160
    assert done.json["files"][0]["shape"] == "columns text → label"
    assert "tokens" in call("check", task).out


@pytest.mark.model
def test_check_of_a_task_tells_what_its_test_can_show(task: Path):
    done = call("check", str(task))
    assert "shows a true gain of" in done.err
    assert "the margin, in" in done.err


def test_check_of_a_task_counts_what_a_run_counts(tmp_path: Path):
    call("init", tmp_path / "home", "--kind", "tool_calling")
    done = call("check", tmp_path / "home", "--json")
    assert done.status == 0
    assert sum(done.json["stats"]["labels"].values()) == 240
    assert "set_light" in done.json["stats"]["labels"]


@pytest.mark.parametrize(("option", "value"), [("--kind", "generation"), ("--set", "seed=1")])
def test_check_refuses_options_that_would_do_nothing(tmp_path: Path, task: Path, option: str, value: str):
    source = task if option == "--kind" else write_rows(tmp_path / "rows.jsonl", labelled(120))
    done = call("check", source, option, value)
    assert done.status == 2
    assert option in done.err


# --- tokens ---


def test_tokens_are_those_of_training(task: Path):
    done = call("tokens", task, "--json", "-n", 5)
    assert done.status == 0
    assert len(done.json["examples"]) == 5
    texts = [json.loads(line)["text"] for line in (task / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    labels = [json.loads(line)["label"] for line in (task / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    for example in done.json["examples"]:
        learned = "".join(piece["text"] for piece in example["pieces"] if piece["labelled"])
        given = "".join(piece["text"] for piece in example["pieces"] if not piece["labelled"])
        assert learned == labels[example["line"] - 1] + "</s>"
        assert texts[example["line"] - 1] in given
        assert sum(example["labelled"]) == len(example["tokens"]) - example["prompt_length"]


def test_tokens_never_shows_the_sealed_test(task: Path, random_run: RandomRun):
    split = read_json(random_run.path / "split.json")
    shown = {
        example["id"] for example in call("tokens", task, "--json", "-n", 1000, "--set", "seed=3").json["examples"]
    }
    assert shown == set(split["train"])
    assert shown & set(split["test"]) == set()


def test_tokens_plain_marks_labelled_tokens(task: Path):
    done = call("tokens", task, "-n", 1)
    assert done.out == call("tokens", task, "-n", 1, "--plain").out
    assert not ESCAPE.search(done.out)
    marked = "".join(re.findall("⟦(.*?)⟧", done.out, re.DOTALL))
    assert marked.removesuffix("</s>") in LABELS
    assert "of them labelled" in done.out
    assert "café" not in done.out.partition("⟦")[0]  # the short prompt lists no labels
    assert "- café" in call("tokens", task, "-n", 1, "--full").out


def test_tokens_of_a_pair_are_those_of_both_answers(tmp_path: Path):
    from tiny import save_tiny

    save_tiny(tmp_path / "model")
    call("init", tmp_path / "mine", "--kind", "preference")
    done = call("tokens", tmp_path / "mine", "--json", "-n", 2, "--set", f"model={tmp_path / 'model'}")
    assert done.status == 0
    rows = [json.loads(line) for line in (tmp_path / "mine" / "preference.jsonl").read_text().splitlines()]
    assert [example["answer"] for example in done.json["examples"]] == ["chosen", "rejected"] * 2
    for example in done.json["examples"]:
        learned = "".join(piece["text"] for piece in example["pieces"] if piece["labelled"])
        assert learned == rows[example["line"] - 1][example["answer"]] + "</s>"


# --- run ---


class RandomRun(NamedTuple):
    path: Path
    done: Done


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classification task of 160 rows with a tiny model of random weights."""
    from tiny import save_tiny

    folder = tmp_path_factory.mktemp("task")
    save_tiny(folder / "model")
    write_rows(folder / "rows.jsonl", labelled(160))
    settings = {
        "name": "colours",
        "kind": "classification",
        "instruction": "Which colour has it?",
        "data": "rows.jsonl",
        "model": "model",
        "training": {"num_train_epochs": 1, "batch_size": 16, "max_steps": 3, "lora_r": 2, "eval_examples": 4},
        "baselines": ["majority", "prompt"],
        "split": {"validation": 16, "test": 24},
    }
    (folder / "burnish.yaml").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def random_run(task: Path, tmp_path_factory: pytest.TempPathFactory) -> RandomRun:
    runs_dir = tmp_path_factory.mktemp("runs")
    done = call("run", task, "--json", "--runs-dir", runs_dir, "--set", "seed=3")
    assert done.status in (0, 3), done.err
    return RandomRun(find_run(runs_dir, "latest").path, done)


def test_run_prints_one_object(random_run: RandomRun):
    done, found = random_run.done, random_run.done.json
    assert found == burnish.Run(random_run.path).summary()
    assert {
        "run_id", "run_dir", "verdict", "reasons", "systems", "paired", "data",
    } <= found.keys()  # fmt: skip
    assert done.status == (0 if found["verdict"] == "ship" else 3)
    assert found["systems"].keys() == {"majority", "prompt", "tuned"}
    assert found["systems"]["tuned"]["accuracy"].keys() == {"value", "low", "high"}
    assert found["data"] == {"train": 120, "validation": 16, "test": 24}
    assert "num_train_epochs" in done.err  # the notice of an alias goes to stderr
    assert not ESCAPE.search(done.err)


def test_run_keeps_its_command_and_settings(random_run: RandomRun):
    record = read_json(random_run.path / "run.json")
    assert record["config"]["seed"] == 3
    assert record["command"].startswith("burnish run ")
    assert record["command"].endswith(" --set seed=3")


def test_a_finished_run_is_not_resumed(task: Path, random_run: RandomRun):
    done = call("run", task, "--resume", "--runs-dir", random_run.path.parent, "--set", "seed=3", "--json")
    assert done.status == 2
    assert done.json["error"] == "run"
    assert "no unfinished run" in done.json["what"]


class _Fake:
    """Stands for lifecycle.run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, outcome: Any) -> None:
        self.given: dict[str, Any] = {}
        self.outcome = outcome
        monkeypatch.setattr("burnish.lifecycle.run", self)

    def __call__(self, loaded: Any, **options: Any) -> Any:
        self.given = {"loaded": loaded, **options}
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(("decision", "status"), [("ship", 0), ("hold", 3)])
def test_run_exits_by_its_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: Path, decision: str, status: int
):
    from reports import fake_runs

    path = fake_runs.build(tmp_path / "runs" / "fake-20261122-183005-abc123", decision=decision)
    (path / "report.html").write_text("<html>", encoding="utf-8")
    fake = _Fake(monkeypatch, burnish.Run(path))
    done = call("run", task, "--quiet", "--allow-bad-rows", 4, "--set", "training.lora_r=8", "--resume")
    assert done.status == status
    assert decision.upper() in done.out
    assert str(path / "report.html") in done.out
    assert "Accuracy" in done.out or "Exact match" in done.out
    assert fake.given["resume"] is True
    assert fake.given["allow_bad_rows"] == 4
    assert fake.given["loaded"].config.training.lora_r == 8


def test_a_users_mistake_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch, task: Path):
    problem = Problem("rows.jsonl", 7, "label", "the label is empty", "''", "write one")
    error = DataError("1 bad row of 160", problems=[problem], fix="correct it")
    _Fake(monkeypatch, error)
    done = call("run", task)
    assert (done.status, done.out) == (2, "")
    assert done.err.endswith(f"error: {error}\n")
    as_json = call("run", task, "--json")
    assert as_json.status == 2
    assert as_json.json == error.to_dict()


def test_mistakes_of_a_task_file_are_all_named(tmp_path: Path):
    (tmp_path / "burnish.yaml").write_text("name: x\nkind: clasification\ninstruction: y\ndata: none.csv\n")
    done = call("run", tmp_path)
    assert done.status == 2
    assert "burnish.yaml:2:kind" in done.err
    assert "burnish.yaml:4:data" in done.err
    assert "--set" in call("run", tmp_path, "--set", "seed").err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("stopped by Ctrl-C after step 3 of 9")])
def test_an_interrupted_run_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, task: Path, error: BaseException):
    _Fake(monkeypatch, error)
    options = ["--runs-dir", "my runs", "--set", "seed=4", "--allow-bad-rows", "2"]
    done = call("run", task, *options)
    assert done.status == 130
    assert f"burnish run {task} --runs-dir 'my runs' --allow-bad-rows 2 --set seed=4 --resume" in done.err
    as_json = call("run", task, "--json")
    assert as_json.status == 130
    assert as_json.json["error"] == "interrupted"
    assert as_json.json["fix"] == f"go on with `burnish run {task} --resume`"


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_in_training_and_what_it_says_to_type(tmp_path: Path, task: Path):
    arguments = ["run", str(task), "--runs-dir", str(tmp_path), "--set", "training.max_steps=80"]
    arguments += ["--set", "training.num_epochs=50", "--set", "baselines=[majority]"]
    started = subprocess.Popen(
        [sys.executable, "-m", "burnish", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not any(file.stat().st_size for file in tmp_path.glob("*/metrics.jsonl")):
        assert started.poll() is None, started.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=120)
    assert (started.returncode, out) == (130, "")
    assert "Traceback" not in err
    typed = re.search(r"`burnish (run .*--resume.*)`", err)
    assert typed, err
    (stopped,) = call("runs", "--runs-dir", tmp_path, "--json").json
    assert stopped["status"] == "interrupted"
    resumed = call(*shlex.split(typed[1]), "--json")
    assert resumed.status in (0, 3), resumed.err
    assert resumed.json["run_id"] == stopped["run_id"]
    assert len(read_jsonl(tmp_path / stopped["run_id"] / "metrics.jsonl")) >= 80


def test_ctrl_c_in_any_command(monkeypatch: pytest.MonkeyPatch):
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("burnish.runs.list_runs", stop)
    done = call("runs")
    assert (done.status, done.out, done.err) == (130, "", "error: interrupted\n")


def test_a_defect_leaves_its_traceback_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: Path):
    monkeypatch.delenv("BURNISH_DEBUG", raising=False)
    _Fake(monkeypatch, ZeroDivisionError("division by zero"))
    runs_dir = tmp_path / "runs"
    runs_dir.mkdir()
    done = call("run", task, "--runs-dir", runs_dir)
    assert done.status == 1
    assert "defect in Burnish" in done.err
    assert "ZeroDivisionError: division by zero" in done.err
    assert "Traceback" not in done.err
    (file,) = runs_dir.iterdir()
    assert str(file) in done.err
    kept = file.read_text(encoding="utf-8")
    assert "Traceback" in kept
    assert burnish.__version__ in kept
    as_json = call("run", task, "--json", f"--runs-dir={runs_dir}")
    assert as_json.status == 1
    assert as_json.json["error"] == "defect"
    assert Path(as_json.json["where"]).parent == runs_dir
    assert call("runs", "--json", "--runs-dir", runs_dir).json == []  # the files are not taken for runs
    monkeypatch.setenv("BURNISH_DEBUG", "1")
    assert "Traceback" in call("run", task, "--runs-dir", runs_dir).err


# --- runs, show, diff, report ---


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with a run that ships and one that was interrupted."""
    from reports import fake_runs

    runs_dir = tmp_path_factory.mktemp("fakes")
    burnish.write_report(fake_runs.build(runs_dir / "procedure-coding-20261122-183005-abc123"))
    stopped = new_run(runs_dir, "stopped", {"seed": 1})
    stopped.set_status("checking")
    stopped.set_status("interrupted", error="the power went")
    return runs_dir


def test_runs_lists_them(fakes: Path):
    done = call("runs", "--runs-dir", fakes)
    assert done.status == 0
    assert "procedure-coding-20261122-183005-abc123" in done.out
    found = call("runs", "--runs-dir", fakes, "--json").json
    assert {(run["name"], run["status"]) for run in found} >= {("stopped", "interrupted")}


def test_runs_of_an_empty_folder(tmp_path: Path):
    done = call("runs", "--runs-dir", tmp_path / "none")
    assert (done.status, done.out) == (0, "no runs here yet\n")
    assert call("runs", "--runs-dir", tmp_path, "--json").json == []


def test_show_gives_the_evidence(fakes: Path):
    done = call("show", "procedure", "--runs-dir", fakes)
    assert done.status == 0
    for word in ("tuned", "few_shot", "SHIP", "Exact match", "report.html"):
        assert word in done.out
    assert not ESCAPE.search(done.out)
    assert all(line == line.rstrip() for line in done.out.splitlines())
    found = call("show", "procedure", "--runs-dir", fakes, "--json").json
    assert found["verdict"] == "ship"
    assert found["systems"]["tuned"]["exact_match"]["value"] > 0


def test_show_of_an_unfinished_run(fakes: Path):
    done = call("show", "stopped", "--runs-dir", fakes)
    assert done.status == 0
    assert "interrupted: the power went" in done.out
    assert "--resume" in done.out
    found = call("show", "stopped", "--runs-dir", fakes, "--json").json
    assert (found["status"], found["error"]) == ("interrupted", "the power went")


@pytest.mark.parametrize("command", ["show", "report", "predict"])
def test_a_run_that_is_not_there(fakes: Path, command: str):
    done = call(command, "procedure-codin-2026", "--runs-dir", fakes)
    assert done.status == 2
    assert "did you mean: procedure-coding-20261122-183005-abc123" in done.err
    empty = call(command, "latest", "--runs-dir", fakes / "none")
    assert "there are no runs here" in empty.err


def test_diff_of_two_runs(fakes: Path):
    done = call("diff", "procedure", "stopped", "--runs-dir", fakes, "--json")
    assert done.status == 0
    assert done.json["b"].startswith("stopped-")
    assert done.json["differences"]["settings"]["kind"] == ["extraction", None]
    assert "extraction" in call("diff", "procedure", "stopped", "--runs-dir", fakes).out


def test_report_writes_the_page_again(tmp_path: Path):
    from reports import fake_runs

    path = fake_runs.build(tmp_path / "runs" / "demo-20261122-183005-abc123")
    done = call("report", "--runs-dir", tmp_path / "runs")
    assert done.status == 0
    assert done.out.split() == [str(path / "report.html"), str(path / "MODEL_CARD.md")]
    assert "<html" in (path / "report.html").read_text(encoding="utf-8")


# --- predict ---


def test_predict_texts(random_run: RandomRun):
    done = call("predict", random_run.path, "the first", "the second")
    assert (done.status, done.err) == (0, "")
    assert len(done.out.splitlines()) == 2
    assert set(done.out.split()) <= set(LABELS)


def test_predict_of_a_baseline(random_run: RandomRun):
    done = call("predict", random_run.path, "the first", "--system", "majority", "--json")
    [line] = [json.loads(line) for line in done.out.splitlines()]
    assert line["answer"] == burnish.Run(random_run.path).predictions("majority")[0].text
    refused = call("predict", random_run.path, "the first", "--system", "few_shot")
    assert (refused.status, refused.out) == (2, "")
    assert "few_shot" in refused.err
    assert "it can ask: majority, prompt, tuned" in refused.err


def test_predict_json_lines(random_run: RandomRun):
    done = call("predict", random_run.path, "the first", "a\nb", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["input"] for line in lines] == ["the first", "a\nb"]
    for line in lines:
        assert line.keys() == {"input", "answer", "parsed", "confidence", "error"}
        assert line["answer"] == line["parsed"]
        assert line["parsed"] in LABELS
        assert 0 < line["confidence"] <= 1


def test_predict_a_pipe_a_text_file_and_rows_alike(tmp_path: Path, random_run: RandomRun):
    texts = ["one apple", "two pears", "drei Äpfel"]
    answers = call("predict", random_run.path, *texts).out
    lines = "".join(text + "\n" for text in texts)
    (tmp_path / "in.txt").write_text(lines, encoding="utf-8")
    (tmp_path / "in.csv").write_text("text\n" + lines, encoding="utf-8")
    write_rows(tmp_path / "unlabelled.jsonl", [{"text": text} for text in texts])
    write_rows(tmp_path / "labelled.jsonl", [{"text": text, "label": "red"} for text in texts])
    turns = [{"messages": [{"role": "user", "content": text}]} for text in texts]
    write_rows(tmp_path / "messages.jsonl", turns)
    assert call("predict", random_run.path, stdin=lines).out == answers
    assert call("predict", random_run.path, "--file", "-", stdin="\ufeff" + lines).out == answers
    for name in ("in.txt", "in.csv", "unlabelled.jsonl", "labelled.jsonl", "messages.jsonl"):
        done = call("predict", random_run.path, "-f", tmp_path / name, "-q")
        assert (done.status, done.out) == (0, answers), name


def test_predict_to_a_file(tmp_path: Path, random_run: RandomRun):
    answers = call("predict", random_run.path, "one", "two").out
    plain, lines = tmp_path / "answers.txt", tmp_path / "answers.jsonl"
    assert call("predict", random_run.path, "one", "two", "-o", plain).out == ""
    assert plain.read_text(encoding="utf-8") == answers
    call("predict", random_run.path, "one", "two", "--output", lines)
    assert [line["parsed"] for line in read_jsonl(lines)] == answers.split()


def test_predict_gives_the_answers_of_the_evaluation(task: Path, random_run: RandomRun):
    examples = read_jsonl(random_run.path / "test_examples.jsonl")
    kept = {p.example_id: p.text for p in burnish.Run(random_run.path).predictions()}
    done = call("predict", random_run.path, *(example["input"] for example in examples))
    assert done.out.splitlines() == [kept[example["id"]] for example in examples]


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (["a text", "--file", "rows.csv"], None, "inputs come from two places"),
        (["one", " "], None, "TEXT 2: the input is empty"),
        ([], "one\n\nthree\n", "stdin:2: the line is empty"),
        ([], "", "there are no inputs"),
        ([], b"caf\xe9\n", "stdin: the input is not UTF-8"),
        (["--file", "missing.csv"], None, "missing.csv:1: there is no such file"),
        (["--file", "missing.txt"], None, "missing.txt:1: there is no such file"),
    ],
)
def test_predict_refuses(random_run: RandomRun, arguments: list[str], stdin: str | bytes | None, told: str):
    done = call("predict", random_run.path, *arguments, stdin=stdin)
    assert (done.status, done.out) == (2, "")
    assert told in done.err


def test_predict_with_a_damaged_row_answers_nothing(tmp_path: Path, random_run: RandomRun):
    file = write_rows(tmp_path / "in.jsonl", [{"text": "good"}, {"txet": "bad"}])
    output = tmp_path / "out.txt"
    done = call("predict", random_run.path, "-f", file, "-o", output, "--json")
    assert done.status == 2
    assert (done.json["what"], done.json["problems"][0]["line"]) == ("1 of 2 inputs cannot be read", 2)
    assert not output.exists()


def test_export(tmp_path: Path, random_run: RandomRun):
    done = call("export", random_run.path, tmp_path / "out")
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == str(tmp_path / "out")
    assert "held-out prompts answered with the same tokens" in done.out
    assert (tmp_path / "out" / "model.safetensors").is_file()
    copied = call("export", random_run.path, tmp_path / "adapter", "--adapter", "--json")
    assert copied.json["replay"] is None
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()
    again = call("export", random_run.path, tmp_path / "out")
    assert again.status == 2
    assert "there is something already" in again.err


def test_predict_without_a_trained_model(fakes: Path):
    done = call("predict", "stopped", "hello", "--runs-dir", fakes)
    assert done.status == 2
    assert "adapter" in done.err


def test_answers_of_no_form_are_told(monkeypatch: pytest.MonkeyPatch, random_run: RandomRun):
    from burnish.records import Parsed, Prediction

    def predictor(path: Path, progress: object, system: str) -> Any:
        return lambda inputs: [Prediction("1", "a\nb", Parsed(None, "no label"), None, 1, 1, 0.1) for _ in inputs]

    monkeypatch.setattr("burnish.predicting.predictor", predictor)
    done = call("predict", random_run.path, "hello")
    assert (done.status, done.out) == (0, "a\\nb\n")
    assert "1 of 1 answers" in done.err
    assert json.loads(call("predict", random_run.path, "hello", "--json").out)["error"] == "no label"


def test_the_starter_model_shows_and_predicts(tiny_run: burnish.Run):
    shown = call("show", tiny_run.path)
    assert shown.status == 0
    assert "tuned" in shown.out
    done = call("predict", tiny_run.path, "My parcel has not arrived", "I was charged twice", "--json")
    assert done.status == 0
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert {line["parsed"] for line in lines} <= {"billing", "delivery", "returns", "account"}
    assert all(0.25 < line["confidence"] <= 1 for line in lines)  # four labels: the surest has more than a quarter


# --- models, doctor ---


def test_models():
    assert "smollm2-135m-instruct" in call("models").out
    (starter,) = call("models", "--json").json
    assert starter["parameters"] == 134_515_008
    assert isinstance(starter["cached"], bool)


def test_doctor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "not" / "there"))
    done = call("doctor", "--json")
    assert done.status == 0
    assert done.json["ok"] is True
    found = {check["name"]: check for check in done.json["checks"]}
    assert {
        "burnish",
        "python",
        "packages",
        "torch",
        "device",
        "bfloat16",
        "memory",
        "cache",
        "models",
    } <= found.keys()
    assert "not/there" in found["cache"]["value"].replace("\\", "/")
    assert "none downloaded yet" in found["models"]["value"]
    plain = call("doctor")
    assert plain.status == 0
    assert all(name in plain.out for name in found)


def test_doctor_leaves_the_process_able_to_compile(tmp_path: Path):
    """A search for pip through import hooks makes setuptools, which torch.compile needs, unusable on Python 3.11."""
    code = "from burnish.cli.checkup import checkup; print(len(checkup())); import setuptools"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"BURNISH_CACHE": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr


def test_doctor_finds_what_is_missing(monkeypatch: pytest.MonkeyPatch):
    needed = [("torch", None), ("burnish-no-such-package", None), ("no-such-extra", "fancy")]
    monkeypatch.setattr("burnish.cli.checkup._requirements", lambda: needed)
    done = call("doctor", "--json")
    assert done.status == 1
    found = {check["name"]: check for check in done.json["checks"]}
    assert found["packages"]["state"] == "fail"
    assert "burnish-no-such-package" in found["packages"]["value"]
    assert found["burnish[fancy]"]["advice"] == 'pip install "burnish[fancy]"'
    assert call("doctor").status == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems preload in other ways")
def test_doctor_sees_which_allocator_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A library of that name in a process of its own, as LD_PRELOAD would bring it."""
    maps = Path("/proc/self/maps").read_text("utf-8").splitlines()
    (mathematics,) = {line.split()[-1] for line in maps if "/libm.so" in line}
    library = tmp_path / "libtcmalloc_minimal.so.4"
    library.write_bytes(Path(mathematics).read_bytes())
    code = "from burnish.cli.checkup import checkup; print([c.value for c in checkup() if c.name == 'allocator'])"
    for preloaded, expected in ((str(library), "['tcmalloc']"), ("", '["the C library\'s"]')):
        environment = os.environ | {"LD_PRELOAD": preloaded}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.stdout.strip() == expected, done.stderr
    for found, told in ((None, "from the package libtcmalloc-minimal4"), ("libthat.so", "LD_PRELOAD=libthat.so")):
        monkeypatch.setattr("burnish.cli.checkup.find_library", lambda name, found=found: found)
        (allocator,) = [check for check in call("doctor", "--json").json["checks"] if check["name"] == "allocator"]
        assert told in allocator["advice"]


# --- pipes and terminals ---


def test_a_closed_pipe_is_quiet():
    started = subprocess.Popen(
        [sys.executable, "-m", "burnish", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert started.stdout is not None
    assert started.stderr is not None
    started.stdout.close()
    told = started.stderr.read()
    started.stderr.close()
    assert (started.wait(timeout=60), told) == (141, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
@pytest.mark.parametrize("no_color", [False, True])
def test_colours_are_for_terminals_only(fakes: Path, no_color: bool):
    import pty

    ours, theirs = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    env |= {"TERM": "xterm-256color"} | ({"NO_COLOR": "1"} if no_color else {})
    started = subprocess.Popen(
        [sys.executable, "-m", "burnish", "show", "procedure", "--runs-dir", str(fakes)],
        stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env=env,
    )  # fmt: skip
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so at the end
            break
        if not part:
            break
        text += part
    os.close(ours)
    assert started.wait(timeout=60) == 0
    assert b"SHIP" in text
    coloured = re.search(rb"\x1b\[(?:[0-9;]*;)?(?:3[0-9]|9[0-7])[;m]", text)
    assert bool(coloured) is not no_color
