"""A whole run with a tracker: the same adapter to the byte, and the verdict told."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

import burnish
from notes import Notes
from tuning.tuning_task import make_task

pytestmark = [
    pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # tensorboard's own reader
]


def test_a_run_tells_its_result_and_trains_the_same_adapter(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    task = make_task(tmp_path, training={"lora_dropout": 0.1})
    plain = burnish.run(task, runs_dir=tmp_path / "plain")
    notes = Notes()
    tracked = burnish.run(task | {"trackers": ["tensorboard"]}, runs_dir=tmp_path / "tracked", progress=notes)
    name = "adapter_model.safetensors"
    assert (plain.adapter / name).read_bytes() == (tracked.adapter / name).read_bytes()
    assert f"tensorboard: tensorboard --logdir {tmp_path / 'tracked'}" in notes.lines
    found = EventAccumulator(str(tracked.path / "trackers" / "tensorboard"))
    found.Reload()
    steps = [line for line in burnish_lines(tracked) if "loss" in line]
    assert [one.step for one in found.Scalars("train/loss")] == [line["step"] for line in steps]
    result = json.loads(found.Tensors("result")[0].tensor_proto.string_val[0])
    assert result["verdict"] == tracked.verdict.decision
    (tuned,) = (one for one in tracked.evaluations if one.system == "tuned")
    assert found.Scalars("test/tuned/accuracy")[0].value == pytest.approx(tuned.metrics["accuracy"].value)


def burnish_lines(run):
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
