"""float16 with a scaled loss: the losses of float32, overflows computed again, the same bits when resumed."""

from __future__ import annotations

import copy

import pytest
import torch

from burnish.errors import TrainingError
from burnish.models.adapters import adapter_state, attach_adapter
from burnish.models.whole import computes_in
from burnish.progress import Silent
from burnish.runs import read_jsonl
from burnish.training import loop, scaling, step
from burnish.training.loop import train
from burnish.training.scaling import LossScale, after, scale_for
from helpers_training import rows, settings
from notes import Notes
from tiny import tiny_loaded


def train_in(folder, dtype, config, progress=None):
    """A LoRA on the same base in float16, or on its numbers in another format."""
    loaded, chat = tiny_loaded(dtype=torch.float16)
    base = copy.deepcopy(loaded.model).to(dtype)
    model = attach_adapter(base, r=config.lora_r, alpha=config.lora_alpha, seed=1)
    made = rows(chat)
    result = train(
        model, made[:20], made[20:], settings=config, seed=3, device="cpu", folder=folder, metric=None,
        metric_name="", progress=progress or Silent(),
    )  # fmt: skip
    return model, result


def losses(result, name="loss"):
    return [line[name] for line in result.history if name in line]


def test_the_factor_halves_on_overflow_and_doubles_after_many_good_steps(monkeypatch):
    monkeypatch.setattr(scaling, "GOOD_STEPS", 3)
    scale = LossScale(8.0)
    seen = []
    for overflowed in (False, False, True, False, False, False, False):
        scale = after(scale, overflowed=overflowed)
        seen.append((scale.factor, scale.good, scale.overflows))
    assert seen == [(8, 1, 0), (8, 2, 0), (4, 0, 1), (4, 1, 1), (4, 2, 1), (8, 0, 1), (8, 1, 1)]
    assert after(LossScale(scaling.MOST, 2), overflowed=False).factor == scaling.MOST


def test_losses_are_scaled_where_a_model_computes_in_float16():
    loaded, _ = tiny_loaded(dtype=torch.float16)
    assert scale_for(loaded.model) == LossScale()
    assert scale_for(loaded.model.float()) is None
    computes_in(loaded.model, torch.float16)  # cut over processes, its weights are in float32
    assert scale_for(loaded.model) == LossScale()


def test_float16_learns_what_float32_learns(tmp_path, monkeypatch):
    """At a factor that fits from the first step on, so that none overflows."""
    monkeypatch.setattr(loop, "scale_for", lambda model: scale_for(model) and LossScale(2.0**9))
    config = settings(num_epochs=3, learning_rate=3e-3)  # at 1e-2 steps are so large that any rounding grows
    half, result = train_in(tmp_path / "half", torch.float16, config)
    whole, expected = train_in(tmp_path / "whole", torch.float32, config)
    assert losses(result) == pytest.approx(losses(expected), abs=0.02)
    assert losses(result)[-1] < losses(result)[0] - 0.1
    assert losses(result, "overflows") == [0] * 15
    assert set(losses(result, "loss_scale")) == {2.0**9}
    assert not losses(expected, "loss_scale")
    state = adapter_state(half)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    for name, tensor in adapter_state(whole).items():
        assert (state[name] - tensor).norm() < 0.1 * tensor.norm(), name


def test_without_scaling_small_gradients_would_be_lost(tmp_path, monkeypatch):
    """So that the test above can fail: at 2^-20 float16 holds none of them."""
    monkeypatch.setattr(loop, "scale_for", lambda _: LossScale(2.0**-20))
    with pytest.raises(TrainingError, match="did not change"):
        train_in(tmp_path, torch.float16, settings())


def test_a_step_that_overflows_is_computed_again(tmp_path, monkeypatch):
    """A factor that is far too large: the first step is computed until it fits, with all weights as they are."""
    config = settings(num_epochs=4)
    monkeypatch.setattr(loop, "scale_for", lambda _: LossScale(2.0**9))
    _, expected = train_in(tmp_path / "fits", torch.float16, config)
    assert set(losses(expected, "overflows")) == {0}
    monkeypatch.setattr(loop, "scale_for", lambda _: LossScale(2.0**18))
    notes = Notes()
    _, result = train_in(tmp_path / "large", torch.float16, config, notes)
    lines = [line for line in read_jsonl(tmp_path / "large" / "metrics.jsonl") if "loss" in line]
    count = lines[0]["overflows"]
    assert count >= 1
    assert lines[0]["loss_scale"] == 2.0 ** (18 - count)
    assert lines[-1]["loss_scale"] == 2.0 ** (18 - lines[-1]["overflows"])
    assert sum("computed again" in line for line in notes.lines) == lines[-1]["overflows"] < 10
    assert losses(result) == pytest.approx(losses(expected), abs=0.02)


def test_gradients_that_fit_at_no_scale_stop_the_run(tmp_path, monkeypatch):
    def overflow(parameters, scale):
        for parameter in parameters:
            parameter.grad.fill_(float("inf"))

    monkeypatch.setattr(step, "unscale", overflow)
    with pytest.raises(TrainingError, match="at any scale") as caught:
        train_in(tmp_path, torch.float16, settings(num_epochs=9))
    assert "loss scale 1" in str(caught.value)
    assert "rows.jsonl" in str(caught.value)


def test_stopped_and_resumed_equals_uninterrupted(tmp_path, monkeypatch):
    """Overflows before and after the cut, a factor that has grown between."""
    monkeypatch.setattr(loop, "scale_for", lambda _: LossScale(2.0**18))
    monkeypatch.setattr(scaling, "GOOD_STEPS", 2)
    config = settings(num_epochs=4, evals_per_epoch=2)
    whole, result = train_in(tmp_path / "whole", torch.float16, config)
    real = step.Stepper.step

    class Killed(Exception):  # noqa: N818
        pass

    for cut in (4, 11, 17):

        def killing(self, number, *rest, cut=cut):
            if number == cut and not getattr(killing, "done", False):
                killing.done = True
                raise Killed
            return real(self, number, *rest)

        monkeypatch.setattr(step.Stepper, "step", killing)
        folder = tmp_path / str(cut)
        with pytest.raises(Killed):
            train_in(folder, torch.float16, config)
        resumed, again = train_in(folder, torch.float16, config)
        left, right = adapter_state(whole), adapter_state(resumed)
        assert all(torch.equal(left[name], right[name]) for name in left), cut
        for name in ("loss", "loss_scale", "overflows"):
            assert losses(again, name) == losses(result, name)
