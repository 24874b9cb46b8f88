"""Every method learns, and resumes to the same weights."""

from __future__ import annotations

import pytest
import torch

from burnish.errors import Interrupted
from burnish.models.adapters import METHODS, adapter_state
from burnish.training import journal
from helpers_training import lora_model, run_training, settings

RATES = {"full": 3e-3, "ia3": 0.1, "prefix_tuning": 0.1, "prompt_tuning": 0.1}
# How far the loss must fall, summed over 5 of 15 steps of a random model; others 0.5.
LEAST = {"ia3": 0.02, "bottleneck": 0.2, "prefix_tuning": 0.2, "prompt_tuning": 0.05}


def frozen(model) -> dict[str, torch.Tensor]:
    """All weights that are not trained, by name, as they are now."""
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if not parameter.requires_grad
    }


@pytest.mark.parametrize("method", METHODS)
def test_the_base_stays_as_it_was(tmp_path, method):
    config = settings(method=method, learning_rate=RATES.get(method, 1e-2), num_epochs=1)
    before = frozen(lora_model(config)[0])
    model, _ = run_training(tmp_path, config)
    after = frozen(model)
    assert after.keys() == before.keys()
    assert (method == "full") == (not before)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("method", METHODS)
def test_learns_and_resumes_to_the_same_bits(tmp_path, monkeypatch, method):
    config = settings(method=method, learning_rate=RATES.get(method, 1e-2), checkpoint_steps=2, num_epochs=3)
    model, result = run_training(tmp_path / "whole", config)
    losses = [line["loss"] for line in result.history if "loss" in line]
    assert len(losses) == 15
    assert sum(losses[-5:]) < sum(losses[:5]) - LEAST.get(method, 0.5)

    real = journal.append_jsonl

    def interrupted(path, line):
        real(path, line)
        if line["step"] == 5:
            raise Interrupted("stopped here", fix="")

    monkeypatch.setattr(journal, "append_jsonl", interrupted)
    with pytest.raises(Interrupted):
        run_training(tmp_path / "cut", config)
    monkeypatch.setattr(journal, "append_jsonl", real)
    again, _ = run_training(tmp_path / "cut", config)
    left, right = adapter_state(model), adapter_state(again)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
