"""Functions that a GPU gets compiled, compiled for the CPU: the same numbers, and the same arguments overwritten."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import torch
from test_fused_layers import adapted, assert_same, errors, outcome, unfused

from burnish.models import compiled, layer_operations, rms_norm
from tiny_families import TINY

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def cases(dtype, rows):
    """Each function with arguments."""
    generator = torch.Generator().manual_seed(rows)

    def random(*shape):
        return torch.randn(shape, generator=generator).to(dtype)

    x, weight = random(rows, 64), random(64)
    inverse = rms_norm.inverse_rms(x, 1e-5)
    gate, up, hidden, silu = (random(rows, 96) for _ in range(4))
    heads = random(2, rows, 3, 16).transpose(1, 2)
    return [
        (rms_norm.inverse_rms, x, 1e-5),
        (rms_norm.normalise, x, inverse, weight),
        (rms_norm.normalise_backward, random(rows, 64), x, inverse, weight),
        (rms_norm.normalise_backward, random(rows, 64), x, inverse, weight, random(rows, 64)),
        (layer_operations._gated, gate, up),
        (layer_operations._gated_again, gate, up, gate.sigmoid()),
        (layer_operations._gated_backward, hidden, silu, up, gate.sigmoid()),
        (layer_operations._rotated_at_once, heads, random(1, 1, rows, 16), random(1, 1, rows, 16)),
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_compiled_functions_give_and_overwrite_the_same(dtype):
    """Compiled, numbers stay in float32 between operations, so bfloat16 differs by what it rounds."""
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    made = {}
    for rows in (7, 13):
        for function, *given in cases(dtype, rows):
            plain = function.__wrapped__
            compiled_one = made.setdefault(function, compiled._compile(plain))
            left, right = ([one.clone() if torch.is_tensor(one) else one for one in given] for _ in range(2))
            wanted, found = plain(*left), compiled_one(*right)
            wanted, found = (one if isinstance(one, tuple) else (one,) for one in (wanted, found))
            for one, other in zip((*wanted, *left), (*found, *right), strict=True):
                if torch.is_tensor(one):
                    torch.testing.assert_close(other, one, **tolerance)
            assert [one.stride() for one in found] == [one.stride() for one in wanted]
    overwritten = [
        any(not torch.equal(one, other) for one, other in zip(before, after, strict=True) if torch.is_tensor(one))
        for before, after in [(given, run(function, given)) for function, *given in cases(dtype, 5)]
    ]
    assert overwritten == [False, False, True, True, False, False, True, False]


def run(function, given):
    """The arguments after a call."""
    copies = [one.clone() if torch.is_tensor(one) else one for one in given]
    function(*copies)
    return copies


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_model_trains_through_compiled_functions(monkeypatch, family):
    """Forward, and backward in autograd's own thread."""
    used = []
    real = compiled._compile

    def compile_and_note(function):
        used.append(function.__name__)
        return real(function)

    monkeypatch.setattr(compiled, "_compile", compile_and_note)
    fresh(monkeypatch)
    model = adapted(TINY[family])
    monkeypatch.setattr(compiled, "_wanted", lambda tensor: True)
    assert_same(model)
    assert {"inverse_rms", "normalise", "normalise_backward", "_gated", "_gated_again", "_gated_backward"} <= {*used}


def test_bfloat16_gradients_are_no_worse_compiled(monkeypatch):
    """Errors against float32, over many adapters: with one of them either may be three times the better."""
    found = {True: 0.0, False: 0.0}
    fresh(monkeypatch)
    for seed in range(18):
        model = adapted(TINY["llama"], dtype=torch.bfloat16, seed=seed)
        exact = outcome(unfused(model).float())
        for wanted in found:
            monkeypatch.setattr(compiled, "_wanted", lambda tensor, wanted=wanted: wanted)
            found[wanted] += sum(errors(outcome(model), exact).values())
    assert found[True] < 1.05 * found[False]


def fresh(monkeypatch):
    """Functions as they are before their first call, in all places that hold them."""
    for module in (rms_norm, layer_operations):
        for name, held in list(vars(module).items()):
            if hasattr(held, "__wrapped__") and held.__globals__["__name__"] == compiled.__name__:
                monkeypatch.setattr(module, name, compiled.compiled_on_gpu(held.__wrapped__))


def on_gpu(value):
    return SimpleNamespace(device=SimpleNamespace(type="cuda"), value=value)


def test_on_a_cpu_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(compiled, "_compile", lambda function: 1 / 0)
    doubled = compiled.compiled_on_gpu(lambda tensor: tensor * 2)
    assert doubled(torch.ones(2)).tolist() == [2, 2]


def test_what_cannot_be_compiled_stays_plain_and_is_told_once(monkeypatch, caplog):
    calls = []

    def fails(function):
        calls.append(function)
        return lambda tensor: 1 / 0

    monkeypatch.setattr(compiled, "_compile", fails)
    doubled = compiled.compiled_on_gpu(lambda tensor: tensor.value * 2)
    assert [doubled(on_gpu(i)) for i in range(3)] == [0, 2, 4]
    assert len(calls) == 1
    lines = [record.message for record in caplog.records if record.name == "burnish"]
    assert len(lines) == 1
    assert "stays uncompiled on this GPU (ZeroDivisionError: division by zero)" in lines[0]


def test_memory_that_runs_out_is_no_reason(monkeypatch):
    def full(tensor):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(compiled, "_compile", lambda function: full)
    doubled = compiled.compiled_on_gpu(lambda tensor: tensor.value * 2)
    with pytest.raises(torch.OutOfMemoryError):
        doubled(on_gpu(1))
