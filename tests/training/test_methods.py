"""Every method learns, and resumes to the same weights."""

from __future__ import annotations

import pytest
import torch

from burnish.errors import Interrupted
from burnish.models.adapters import METHODS, adapter_state
from burnish.training import loop
from helpers_training import run_training, settings


@pytest.mark.parametrize("method", METHODS)
def test_learns_and_resumes_to_the_same_bits(tmp_path, monkeypatch, method):
    rate = {"full": 3e-3, "ia3": 0.1}.get(method, 1e-2)
    config = settings(method=method, learning_rate=rate, checkpoint_steps=2, num_epochs=3)
    model, result = run_training(tmp_path / "whole", config)
    losses = [line["loss"] for line in result.history if "loss" in line]
    assert len(losses) == 15
    assert sum(losses[-5:]) < sum(losses[:5]) - (0.02 if method == "ia3" else 0.5)

    real = loop.append_jsonl

    def interrupted(path, line):
        real(path, line)
        if line["step"] == 5:
            raise Interrupted("stopped here", fix="")

    monkeypatch.setattr(loop, "append_jsonl", interrupted)
    with pytest.raises(Interrupted):
        run_training(tmp_path / "cut", config)
    monkeypatch.setattr(loop, "append_jsonl", real)
    again, _ = run_training(tmp_path / "cut", config)
    left, right = adapter_state(model), adapter_state(again)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
