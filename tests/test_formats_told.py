"""What is said about a number format that is slow where the model lies."""

from __future__ import annotations

import pytest
import torch

import burnish
from burnish.fit import load_base
from burnish.models import load
from notes import Notes
from test_lifecycle import write_task
from tiny import tiny_loaded


@pytest.mark.parametrize(
    ("wanted", "device", "dtype", "told"),
    [
        ("auto", "cuda", torch.float32, "training.dtype: float16 is several times as fast"),
        ("auto", "cuda", torch.bfloat16, None),
        ("float32", "cuda", torch.float32, None),
        ("auto", "cpu", torch.float32, None),
        ("float16", "cpu", torch.float16, "float16 is slow on a CPU"),
        ("float16", "cuda", torch.float16, None),
    ],
)
def test_slow_number_formats_are_told(tmp_path, monkeypatch, wanted, device, dtype, told):
    found = tiny_loaded()[0]._replace(device=device, dtype=dtype)
    monkeypatch.setattr(load, "load_model", lambda *_, **__: found)
    task = burnish.load_task(write_task(tmp_path, training={"dtype": wanted}))
    notes = Notes()
    assert load_base(task, notes) is found
    assert (any(told in line for line in notes.lines)) if told else not notes.lines
