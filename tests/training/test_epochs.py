"""Which rows an epoch holds, as the loop takes it."""

from __future__ import annotations

import pytest
import torch

from burnish.models.adapters import adapter_state
from helpers_training import lora_model, rows, run_training, settings

CONFIG = settings(num_epochs=3, batch_size=4)


def weights(model):
    return [tensor.clone() for tensor in adapter_state(model).values()]


def equal(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def turning(epoch: int) -> list[int]:
    """The first eight rows always, and four others in each epoch."""
    return [*range(8), *(8 + (4 * epoch + i) % 12 for i in range(4))]


def test_an_epoch_of_the_first_rows_is_training_on_them(tmp_path):
    _, chat = lora_model(CONFIG)
    made = rows(chat)
    chosen, _ = run_training(tmp_path / "a", CONFIG, epoch=lambda _: range(8))
    others = [*made[:8], *reversed(made[8:20]), *made[20:]]
    alone, _ = run_training(tmp_path / "b", CONFIG, data=others, epoch=lambda _: range(8))
    every, result = run_training(tmp_path / "c", CONFIG)
    assert equal(weights(chosen), weights(alone))
    assert not equal(weights(chosen), weights(every))
    assert result.steps == 15


def test_every_epoch_has_its_own_rows_and_the_same_number_of_steps(tmp_path):
    _, chat = lora_model(CONFIG)
    made = rows(chat)
    lines = []
    _, result = run_training(tmp_path, CONFIG, epoch=turning, on_log=lines.append)
    assert result.steps == 9
    seen = [line["labelled_tokens"] for line in lines if "labelled_tokens" in line]
    for epoch in range(3):
        wanted = sum(made[place].labelled for place in turning(epoch))
        assert sum(seen[3 * epoch : 3 * epoch + 3]) == wanted


def test_a_resumed_training_sees_the_same_epochs(tmp_path):
    whole, _ = run_training(tmp_path / "whole", CONFIG, epoch=turning)

    class StopError(Exception):
        pass

    def stop_in_the_second_epoch(line):
        if line["step"] == 5:
            raise StopError

    cut = tmp_path / "cut"
    with pytest.raises(StopError):
        run_training(cut, CONFIG, epoch=turning, on_log=stop_in_the_second_epoch)
    resumed, _ = run_training(cut, CONFIG, epoch=turning)
    assert equal(weights(whole), weights(resumed))
