"""Preference losses against the papers' numbers and their limits, and against slow and obvious versions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from burnish.models.layout import lay_out
from burnish.models.score import sequence_logprobs
from burnish.progress import Silent
from burnish.records import Source
from burnish.runs import read_json, read_jsonl
from burnish.training.batches import collate
from burnish.training.objectives.dpo import dpo_loss
from burnish.training.objectives.kto import kto_loss
from burnish.training.objectives.make import OBJECTIVES, make_objective
from burnish.training.objectives.orpo import log_odds_ratio, orpo_loss
from burnish.training.objectives.simpo import simpo_loss
from helpers_training import lora_model, pairs, rows, run_training, settings

numbers = st.floats(-10, 10)


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


@given(numbers, st.floats(0.01, 2), st.floats(0, 0.5))
def test_dpo_is_the_cross_entropy_of_the_preference(margin, beta, smoothing):
    p = 1 / (1 + math.exp(-beta * margin))
    expected = -(1 - smoothing) * math.log(p) - smoothing * math.log(1 - p)
    assert dpo_loss(t(margin), beta=beta, label_smoothing=smoothing).item() == pytest.approx(expected, rel=1e-9)


def test_ipo_is_least_at_half_over_beta():
    losses = dpo_loss(t(4.9, 5.0, 5.1), beta=0.1, kind="ipo")
    assert losses[1] == 0
    assert losses[0].item() == pytest.approx(0.01)


@given(st.floats(-9, -0.01), st.floats(-9, -0.01))
def test_odds_ratio(chosen, rejected):
    def odds(logp):
        return math.exp(logp) / (1 - math.exp(logp))

    ratio = math.log(odds(chosen) / odds(rejected))
    assert log_odds_ratio(t(chosen), t(rejected)).item() == pytest.approx(ratio, rel=1e-6, abs=1e-9)
    expected = -chosen - 0.3 * math.log(1 / (1 + math.exp(-ratio)))
    assert orpo_loss(t(chosen), t(rejected), beta=0.3).item() == pytest.approx(expected, rel=1e-6)


def test_simpo_wants_a_margin():
    assert simpo_loss(t(-1.0), t(-1.5), beta=2.0, gamma=1.0).item() == pytest.approx(math.log(2))


@given(numbers, numbers, st.booleans())
def test_kto_values_gains_and_losses_from_the_reference_point(reward, point, desirable):
    found = kto_loss(
        t(reward), torch.tensor([desirable]), point=point, beta=0.1, desirable_weight=2.0, undesirable_weight=3.0
    )
    sign, weight = (1, 2.0) if desirable else (-1, 3.0)
    assert found.item() == pytest.approx(weight * (1 - 1 / (1 + math.exp(-sign * 0.1 * (reward - point)))), rel=1e-6)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "sft"])
def test_a_step_is_the_sum_of_its_parts(name):
    """Losses and numbers do not depend on how a step is cut, nor on sharing."""
    model, chat = lora_model(settings())
    generator = torch.Generator().manual_seed(5)
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    objective = make_objective(name)
    items = [
        item._replace(reference=(-9.0 - i, -11.0 + i), weight=1 + i % 3, desirable=i % 2 == 0)
        for i, item in enumerate(pairs(chat, 6))
    ]
    from burnish.models.token_losses import TokenLosses

    token_losses = TokenLosses(model)

    def total(parts, share):
        loss, sums = 0.0, {}
        for part in parts:
            batch = collate(part, trained=objective.trained, how="tree", share=share)
            found = objective.loss(token_losses(batch), batch, part, normaliser=7.0, shared=0.5)
            loss += float(found.value.detach())
            for key, value in found.sums.items():
                sums[key] = sums.get(key, 0.0) + float(value)
        return loss, sums

    whole = total([items], True)
    for parts, share in (([[item] for item in items], True), ([items[:2], items[2:]], False)):
        loss, sums = total(parts, share)
        assert loss == pytest.approx(whole[0], rel=1e-5)
        assert sums == pytest.approx(whole[1], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "sft"])
def test_every_preference_objective_learns_and_resumes_to_the_same_bits(tmp_path, name):
    from burnish.models.adapters import adapter_state

    _, chat = lora_model(settings())
    made = pairs(chat, 24)
    if name == "kto":
        made = [
            item._replace(sequences=(item.sequences[i % 2], made[i - 1].sequences[0]), desirable=i % 2 == 0)
            for i, item in enumerate(made)
        ]
    objective = make_objective(name)
    config = settings(num_epochs=4)
    model, result = run_training(tmp_path / "whole", config, data=made, objective=objective)
    lines = [line for line in result.history if "loss" in line]
    if name != "kto":  # there every answer of the same text moves the reference point, too
        assert lines[-1]["reward_accuracy"] > 0.9
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    assert "validation_reward_accuracy" in next(line for line in result.history if "validation_loss" in line)

    class Killed(Exception):  # noqa: N818
        pass

    def kill(line):
        if line["step"] == 7:
            raise Killed

    with pytest.raises(Killed):
        run_training(tmp_path / "cut", config, data=made, objective=objective, on_log=kill)
    again, _ = run_training(tmp_path / "cut", config, data=made, objective=objective)
    left, right = adapter_state(model), adapter_state(again)
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert (tmp_path / "cut" / "reference.json").exists() is objective.needs_reference


def test_reference_is_the_model_without_its_adapter_and_is_computed_once(tmp_path):
    from burnish.training import reference

    model, chat = lora_model(settings())
    made = pairs(chat, 5)
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.3)
    base, _ = lora_model(settings())
    options = {"tokens_per_batch": 512, "share": True, "group": reference.Group(), "progress": Silent()}
    with_ref = reference.with_reference(made, model, tmp_path / "reference.json", **options)
    expected = sequence_logprobs(base, [sequence for item in made for sequence in item.sequences])
    found = [value for item in with_ref for value in item.reference]
    assert found == pytest.approx(expected, rel=1e-5)
    assert sequence_logprobs(model, [made[0].sequences[0]])[0] != pytest.approx(expected[0], rel=1e-3)
    values = read_json(tmp_path / "reference.json")["values"]
    model.disable_adapter = None  # a second computation would fail
    again = reference.with_reference(made, model, tmp_path / "reference.json", **options)
    assert [list(item.reference) for item in again] == values


def test_first_dpo_step_knows_nothing(tmp_path):
    """Policy and reference are the same before step 1: the loss is log 2."""
    _, chat = lora_model(settings())
    run_training(tmp_path, settings(max_steps=1), data=pairs(chat, 24), objective=make_objective("dpo"))
    first = read_jsonl(tmp_path / "metrics.jsonl")[0]
    assert first["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert first["reward_margin"] == pytest.approx(0, abs=1e-4)


def test_labels_of_a_sequence_sum_to_its_log_probability():
    model, chat = lora_model(settings())
    item = rows(chat, 3)[2]
    (sequence,) = item.sequences
    logits = model(input_ids=torch.tensor([sequence.tokens])).logits[0].log_softmax(-1).detach()
    first = sequence.spans[0].first
    expected = sum(float(logits[i - 1, token]) for i, token in enumerate(sequence.tokens) if i >= first)
    assert sequence_logprobs(model, [sequence])[0] == pytest.approx(expected, rel=1e-5)
    assert lay_out([sequence], how="rows").weights_N.tolist() == [1.0] * sequence.labelled
    assert Source("a", 1) != item.source
