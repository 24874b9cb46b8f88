"""The loop: it learns, resumes to the same bits, and stops rather than lies."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch

from burnish.errors import Interrupted, TrainingError
from burnish.models.adapters import adapter_state
from burnish.runs import read_jsonl
from burnish.training import checkpoints, step
from burnish.training.objectives import sft
from burnish.training.overfitting import overfitting
from helpers_training import lora_model, rows, run_training, settings
from notes import Notes


def same(a, b):
    left, right = adapter_state(a), adapter_state(b)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_it_learns_and_writes_down_what_it_did(tmp_path):
    model, result = run_training(tmp_path, settings(num_epochs=6))
    losses = [line["loss"] for line in result.history if "loss" in line]
    assert len(losses) == result.steps == 30
    assert losses[-1] < losses[0] - 0.2
    line = read_jsonl(tmp_path / "metrics.jsonl")[0]
    assert {
        "step",
        "epoch",
        "loss",
        "learning_rate",
        "gradient_norm",
        "tokens_per_second",
        "memory_mb",
    } <= line.keys()
    assert result.trainable_parameters == sum(t.numel() for t in adapter_state(model).values())
    assert result.train_tokens == sum(line["tokens"] for line in result.history if "loss" in line)
    assert not list((tmp_path / "checkpoints").glob(".writing-*"))
    assert len(list((tmp_path / "checkpoints").glob("step-*"))) == 2


def test_numbers_are_those_of_the_settings_whatever_accelerate_is_told(tmp_path, monkeypatch):
    """`accelerate launch --mixed_precision bf16` sets this variable, and accelerate would cast the model's passes."""
    first, _ = run_training(tmp_path / "a", settings())
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    second, _ = run_training(tmp_path / "b", settings())
    assert same(first, second)


def test_same_seed_same_bits(tmp_path):
    first, _ = run_training(tmp_path / "a", settings(lora_dropout=0.1))
    second, _ = run_training(tmp_path / "b", settings(lora_dropout=0.1))
    assert same(first, second)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora_dropout": 0.2},
        {"loraplus_lr_ratio": 8},
        {"optimizer": "adamw_8bit", "method": "full", "learning_rate": 1e-3},
    ],
    ids=str,
)
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, monkeypatch, changes):
    """Cut at every step from 1 to 9, wherever the last checkpoint was: the same weights and the same log."""
    config = settings(num_epochs=2, evals_per_epoch=2, **changes)
    whole, result = run_training(tmp_path / "whole", config)
    real = step.Stepper.step

    class Killed(Exception):  # noqa: N818
        pass

    for cut in (1, 4, 5, 9):

        def killing(self, number, *rest, cut=cut):
            if number == cut and not getattr(killing, "done", False):
                killing.done = True
                raise Killed
            return real(self, number, *rest)

        monkeypatch.setattr(step.Stepper, "step", killing)
        folder = tmp_path / str(cut)
        with pytest.raises(Killed):
            run_training(folder, config)
        resumed, again = run_training(folder, config)
        assert same(whole, resumed), cut
        timeless = [
            [
                {k: v for k, v in line.items() if k not in ("seconds", "tokens_per_second", "memory_mb")}
                for line in r.history
            ]
            for r in (result, again)
        ]
        assert timeless[0] == timeless[1]
        assert again.best_step == result.best_step


def test_stop_signal_saves_a_checkpoint(tmp_path, monkeypatch):
    import os
    import signal

    real = step.Stepper.step

    def stopping(self, number, *rest):
        if number == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, number, *rest)

    monkeypatch.setattr(step.Stepper, "step", stopping)
    with pytest.raises(Interrupted, match=r"after step 5 of 10.*saved") as caught:
        run_training(tmp_path, settings())
    assert "--resume" in str(caught.value)
    assert (tmp_path / "checkpoints" / "step-000005").is_dir()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    "name", ["adapter_model.safetensors", "optimizer.safetensors", "state.json", "rng.safetensors"]
)
@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_damaged_checkpoint_is_named_and_the_one_before_used(tmp_path, name, damage):
    config = settings(max_steps=6, keep_checkpoints=3)
    whole, _ = run_training(tmp_path, config)
    shutil.rmtree(tmp_path / "adapter", ignore_errors=True)
    file = tmp_path / "checkpoints" / "step-000006" / name
    data = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    notes = Notes()
    resumed, _ = run_training(tmp_path, config, progress=notes)
    assert any("step-000006 is damaged" in line and name in line for line in notes.lines)
    assert same(whole, resumed)


def test_not_finite_loss_stops_with_the_examples_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    real = sft.sft_loss
    calls = []

    def poisoned(*arguments):
        calls.append(1)
        loss = real(*arguments)
        return loss * float("nan") if len(calls) == 5 else loss

    monkeypatch.setattr(sft, "sft_loss", poisoned)
    with pytest.raises(TrainingError, match="not finite in step 5") as caught:
        run_training(tmp_path, settings())
    assert "rows.jsonl:" in str(caught.value)
    assert [path.name for path in (tmp_path / "checkpoints").glob("step-*")] == ["step-000003"]
    kept = torch.cat([t.flatten() for t in load(tmp_path / "checkpoints" / "step-000003").values()])
    assert bool(kept.isfinite().all())


def load(folder):
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def test_out_of_memory_goes_on_with_smaller_batches_and_the_same_step(tmp_path, monkeypatch):
    config = settings(num_epochs=1)
    whole, _ = run_training(tmp_path / "whole", config)
    real = step.TokenLosses.__call__

    def scarce(losses, batch):
        if batch.sequences > 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(losses, batch)

    monkeypatch.setattr(step.TokenLosses, "__call__", scarce)
    notes = Notes()
    small, _ = run_training(tmp_path / "small", config, progress=notes)
    assert any("out of memory: going on with" in line for line in notes.lines)
    left, right = adapter_state(whole), adapter_state(small)
    assert all(torch.allclose(left[name], right[name], atol=2e-4) for name in left)


def test_out_of_memory_for_one_row_is_an_error(tmp_path, monkeypatch):
    def never(losses, batch):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(step.TokenLosses, "__call__", never)
    with pytest.raises(TrainingError, match="memory does not suffice for one example"):
        run_training(tmp_path, settings())


def test_best_of_the_metric_is_kept_and_patience_ends_training(tmp_path):
    values = iter([0.2, 0.9, 0.5, 0.5, 0.5])
    seen = {}

    def metric():
        return next(values)

    config = settings(num_epochs=9, early_stopping_patience=2)
    model, result = run_training(tmp_path, config, metric=metric)
    assert (result.best_step, result.steps, result.stopped_early) == (10, 20, True)
    kept = load(tmp_path / "checkpoints" / "best-000010")
    assert all(torch.equal(kept[name], tensor) for name, tensor in adapter_state(model).items())
    assert seen == {}


def test_selection_by_loss(tmp_path):
    _, result = run_training(tmp_path, settings(select_by="loss"), metric=lambda: 0.5)
    losses = {line["step"]: line["validation_loss"] for line in result.history if "validation_loss" in line}
    assert result.best_step == min(losses, key=losses.get)


def test_all_weights_zero_is_an_error(tmp_path):
    _, chat = lora_model(settings())
    data = [row._replace(weight=0.0) for row in rows(chat)]
    with pytest.raises(TrainingError, match="weight 0"):
        run_training(tmp_path, settings(), data=data)


@pytest.mark.parametrize(
    ("validation", "train", "says"),
    [
        ([1.0, 0.5, 0.7], 0.4, "rose from 0.500 (step 2) to 0.700"),
        ([1.0, 0.9], 0.3, "training loss 0.300"),
        ([1.0, 0.5], 0.5, None),
    ],
)
def test_overfitting_sentence(validation, train, says):
    history = [{"step": 1, "loss": 2.0}] * 5 + [{"step": 9, "loss": train}]
    history += [{"step": i + 1, "validation_loss": value} for i, value in enumerate(validation)]
    sentence = overfitting(history)
    assert (sentence is None) if says is None else says in sentence


def test_checkpoint_holds_no_pickle(tmp_path):
    run_training(tmp_path, settings(max_steps=3))
    names = {path.suffix for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()}
    assert names == {".safetensors", ".json"}
    state = json.loads((tmp_path / "checkpoints" / "step-000003" / "state.json").read_text())
    assert checkpoints.TrainerState(**state).step == 3


@pytest.mark.parametrize("every", [True, 2])
def test_gradient_checkpointing_gives_the_same_training(tmp_path, every):
    """Up to rounding: the forward pass is computed twice, nothing else."""
    plain, _ = run_training(tmp_path / "plain", settings(num_epochs=1))
    again, _ = run_training(tmp_path / "again", settings(num_epochs=1, gradient_checkpointing=every))
    layers = [layer for layer in again.modules() if type(layer).__name__.endswith("DecoderLayer")]
    assert [layer.gradient_checkpointing for layer in layers] == [i % every == 0 for i in range(len(layers))]
    left, right = adapter_state(plain), adapter_state(again)
    assert all(torch.allclose(left[name], right[name], atol=2e-4) for name in left)


def test_prefix_off_gives_the_same_training(tmp_path):
    plain, _ = run_training(tmp_path / "plain", settings(num_epochs=1))
    apart, _ = run_training(tmp_path / "apart", settings(num_epochs=1, shared_prefix="off"))
    left, right = adapter_state(plain), adapter_state(apart)
    assert all(torch.allclose(left[name], right[name], atol=2e-4) for name in left)


def test_an_exception_of_the_log_leaves_a_checkpoint(tmp_path):
    def fail(line):
        if line["step"] == 5:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        run_training(tmp_path, settings(), on_log=fail)
    assert (tmp_path / "checkpoints" / "step-000003").is_dir()


def test_memory_is_that_of_this_process_alone():
    """getrusage's peak would be that of the larger process that started it."""
    child = "from burnish.training.journal import peak_memory_mb; print(peak_memory_mb('cpu'))"
    parent = (
        "import subprocess, sys; held = b'x' * 2**31; "
        f"print(subprocess.run([sys.executable, '-c', {child!r}], capture_output=True, text=True).stdout)"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    assert 100 < float(done.stdout) < 1500
