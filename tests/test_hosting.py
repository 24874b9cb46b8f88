"""Hosted models in whole runs: as baselines, killed and resumed, refused where inputs are private, and their cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import burnish
from burnish.cli import app
from burnish.config import load_task, task_from
from burnish.errors import ConfigError, HostedError
from burnish.hosting import endpoint_of, price_of
from burnish.reports.html import render_report
from burnish.reports.model_card import render_model_card
from burnish.reports.rundata import read_run
from burnish.reports.terminal import to_text
from burnish.reports.views import systems_view
from burnish.runs import read_json
from burnish.systems.hosted.spending import TokenPrice
from chat_server import Server, serving
from notes import Notes
from test_lifecycle import kill, start, write_task

KEY = "sk-test-of-hosting-42"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLOUR_KEY", KEY)


def task_with(folder: Path, server: Server, **changes) -> Path:
    hosted = {"name": "big", "model": "big-1", "base_url": server.url, "api_key_env": "COLOUR_KEY",
              "price": {"input": 1.0, "output": 2.0}} | changes.pop("hosted", {})  # fmt: skip
    training = {"max_steps": 1, "lora_r": 4, "eval_examples": 2}
    options = {"baselines": ["majority", "hosted:big"], "hosted": [hosted], "training": training, "probe": "off"}
    return write_task(folder, **(options | changes))


def test_a_run_compares_with_a_hosted_model_and_counts_its_cost(tmp_path):
    notes = Notes()
    with serving(tmp_path, key=KEY) as server:
        run = burnish.run(task_with(tmp_path, server), runs_dir=tmp_path / "runs", progress=notes)
        bodies = [request["body"] for request in server.requests]
    assert len(bodies) == 24
    assert "Which colour has it?" in bodies[0]["messages"][0]["content"]
    assert "- yellow" in bodies[0]["messages"][0]["content"]
    [big] = [one for one in run.evaluations if one.system == "big"]
    assert big.metrics["accuracy"].value == 1.0
    predictions = run.predictions("big")
    mean = sum(one.prompt_tokens + 2 * one.completion_tokens for one in predictions) / len(predictions) / 1e6
    assert big.cost_per_example == pytest.approx(mean)
    assert [one.cost_per_example for one in run.evaluations if one.system != "big"] == [None, None]
    assert run.verdict.baseline == "big"
    assert any(
        "24 requests to big-1 at 127.0.0.1" in line and "$1 is spent (max_cost)" in line for line in notes.lines
    )
    everything = [
        file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and "requests-" not in file.name
    ]
    assert not any(KEY.encode() in content for content in everything)
    data = read_run(run.path)
    price = f"${1000 * mean:,.3g}"
    host = server.url.removeprefix("http://").removesuffix("/v1")
    page, card = render_report(data), render_model_card(data)
    assert f"{price} for 1,000" in page
    assert f"big-1 at {host}" in page
    assert f"big-1 at {host}, \\{price} for 1,000 answers" in card
    view = to_text(systems_view(data.evaluations, data.paired, metric="accuracy"))
    assert price in view
    assert run.summary()["systems"]["big"]["cost_per_example"] == pytest.approx(mean)
    assert "cost_per_example" not in run.summary()["systems"]["tuned"]
    done = CliRunner().invoke(app, ["cost", str(run.path), "--serve", "gpu/l4", "--json"], standalone_mode=False)
    [served] = [one for one in json.loads(done.stdout)["serving"] if one["system"] == "big"]
    assert served["where"] == "hosted"
    assert served["per_1000"]["value"] == pytest.approx(1000 * mean)


def test_shots_and_instructions_are_chosen_on_validation_for_a_hosted_model_too(tmp_path):
    with serving(tmp_path) as server:
        task = task_with(
            tmp_path, server, hosted={"prompt": "few_shot", "api_key_env": None}, few_shot={"k": [1, 2]},
            prompt={"instructions": ["Say the colour."], "eval_examples": 4},
        )  # fmt: skip
        run = burnish.run(task, runs_dir=tmp_path / "runs")
        assert len(server.requests) == 3 * 4 + 24
    trials = read_run(run.path).prompts
    assert [(trial["system"], trial["k"]) for trial in trials] == [("big", 1), ("big", 2), ("big", 1)]
    assert trials[2]["instruction"] == "Say the colour."


def test_killed_and_resumed_pays_for_nothing_twice(tmp_path):
    """kill -9 while a hosted model answers, then `--resume`: only what was under way is asked again."""
    with serving(tmp_path, delay=0.15) as server:
        task = task_with(tmp_path, server, hosted={"concurrency": 2})
        process = start(task, tmp_path / "runs")
        deadline = time.monotonic() + 120
        while len(server.requests) < 9 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        kill(process)
        before = len(server.requests)
        assert 9 <= before < 24
        resumed = start(task, tmp_path / "runs", "--resume")
        errors = resumed.communicate()[1].decode()
        assert resumed.returncode in (0, 3), errors
        assert len(server.requests) <= 24 + 2
    [path] = (tmp_path / "runs").glob("colours-*/evaluation.json")
    assert read_json(path)["systems"]["big"]["metrics"]["accuracy"]["value"] == 1.0


def test_stopped_at_its_limit_and_resumed_with_a_higher_one(tmp_path):
    with serving(tmp_path) as server:
        dear = {"price": {"input": 900.0, "output": 900.0}, "max_cost": 4.0, "max_new_tokens": 4000}
        task = task_with(tmp_path, server, hosted=dear)
        with pytest.raises(HostedError, match="stops at its limit"):
            burnish.run(task, runs_dir=tmp_path / "runs")
        paid = len(server.requests)
        assert 0 < paid < 24
        task_with(tmp_path, server, hosted=dear | {"max_cost": 30.0})
        run = burnish.run(task, runs_dir=tmp_path / "runs", resume=True)
        assert len(server.requests) == 24
    [big] = [one for one in run.evaluations if one.system == "big"]
    assert big.cost_per_example is not None
    assert 0.02 < big.cost_per_example < 0.08


def test_a_missing_key_is_told_before_anything_is_done(tmp_path, monkeypatch):
    with serving(tmp_path) as server:
        task = task_with(tmp_path, server)
        monkeypatch.delenv("COLOUR_KEY")
        with pytest.raises(ConfigError, match="is not set"):
            burnish.run(task, runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_stops_while_an_answer_is_awaited(tmp_path):
    with serving(tmp_path, faults=[{"delay": 60.0}] * 8) as server:
        process = start(task_with(tmp_path, server), tmp_path / "runs")
        deadline = time.monotonic() + 120
        while not server.requests and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130
    assert "--resume" in errors
    assert "Traceback" not in errors


def test_what_a_user_sees_when_the_key_is_wrong(tmp_path):
    with serving(tmp_path, key="another") as server:
        command = [
            sys.executable,
            "-m",
            "burnish",
            "run",
            str(task_with(tmp_path, server)),
            "--runs-dir",
            str(tmp_path / "runs"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 2
    assert "refuses the key" in done.stderr
    assert "COLOUR_KEY" in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def mapping(tmp_path, hosted, **changes):
    (tmp_path / "rows.jsonl").touch()
    base = {"name": "t", "kind": "generation", "instruction": "x", "data": "rows.jsonl"}
    return task_from(base | {"hosted": [{"name": "big", "model": "m"} | hosted]} | changes, tmp_path)


@pytest.mark.parametrize(
    ("hosted", "changes", "said"),
    [
        ({}, {"context": {"private": True}}, "inputs may not leave the own machines"),
        ({}, {"baselines": ["hosted:bgi"]}, "did you mean big?"),
        ({"name": "tuned"}, {}, "name of a system of Burnish's own"),
        ({"name": "a b"}, {}, "letters, digits"),
        ({"base_url": "api.example.com/v1"}, {}, "no address of an API"),
        ({"base_url": "https://x.example/v1/chat/completions"}, {}, "which is added"),
        ({"concurrency": 0}, {}, "whole number from 1"),
        ({"price": {"input": 1}}, {}, "is missing"),
    ],
)
def test_mistakes_in_the_task_file(tmp_path, hosted, changes, said):
    with pytest.raises(ConfigError) as caught:
        mapping(tmp_path, hosted, **changes)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "hosted", [{"api_key": KEY}, {"api_key_env": KEY}, {"base_url": f"https://u:{KEY}@x.example/v1"}]
)
def test_a_key_in_the_task_file_is_refused_without_showing_it(tmp_path, hosted):
    with pytest.raises(ConfigError) as caught:
        mapping(tmp_path, hosted)
    assert KEY not in str(caught.value)
    assert KEY not in str(caught.value.to_dict())


def test_private_inputs_may_go_to_ones_own_endpoint(tmp_path):
    loaded = mapping(tmp_path, {"own_machine": True, "api_key_env": None}, context={"private": True})
    endpoint = endpoint_of(loaded.config.hosted[0], loaded.config, Notes())
    assert endpoint.ledger.price is None


def test_keys_and_prices_are_looked_up(tmp_path, monkeypatch):
    known = mapping(tmp_path, {"model": "gpt-4o-mini", "api_key_env": "COLOUR_KEY"}).config
    assert endpoint_of(known.hosted[0], known, Notes()).address.key == KEY
    assert price_of(known.hosted[0], known) == TokenPrice(0.15, 0.6, 0.075)
    unknown = mapping(tmp_path, {"max_cost": 2.0, "api_key_env": None}).config
    with pytest.raises(ConfigError, match="needs a price"):
        endpoint_of(unknown.hosted[0], unknown, Notes())
    monkeypatch.delenv("COLOUR_KEY")
    with pytest.raises(ConfigError, match="is not set"):
        endpoint_of(known.hosted[0], known, Notes())
    monkeypatch.setenv("COLOUR_KEY", "sk-with\nbreak")
    with pytest.raises(ConfigError, match="no key has"):
        endpoint_of(known.hosted[0], known, Notes())


def test_preference_refuses_hosted_models(tmp_path):
    task = write_task(tmp_path)
    load_task(task)
    with pytest.raises(ConfigError, match="not for kind preference"):
        mapping(tmp_path, {}, kind="preference", baselines=["prompt", "big"])
