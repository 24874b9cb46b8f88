"""Weights in bfloat16 and float16 that train as float32 ones do."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from burnish.training.guards import MovedGuard
from burnish.training.optimizers import make_optimizer, optimizer_tensors, restore_optimizer
from burnish.training.scaling import LossScale, unscale
from burnish.training.split_weights import LOWER, add_up_in_float32, joined, moved_below, split_into, take_step, widen
from helpers_training import run_training, settings

SETTINGS = {"method": "full", "learning_rate": 2e-5, "num_epochs": 12}


HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


def weights(*shapes, seed=0, dtype=torch.bfloat16):
    draw = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter((0.05 * torch.randn(shape, generator=draw)).to(dtype)) for shape in shapes]


def optimizer_of(parameters, kind="adamw", rate=1e-5):
    named = [(f"w{i}", parameter) for i, parameter in enumerate(parameters)]
    return make_optimizer(named, kind=kind, rate=rate, weight_decay=0.1)


def give_gradients(parameters, step):
    draw = torch.Generator().manual_seed(100 + step)
    for parameter in parameters:
        gradient = torch.randn(parameter.shape, generator=draw)
        parameter.grad = gradient.to(parameter.dtype)


def in_full(optimizer, parameter):
    return joined(parameter.data, optimizer.state[parameter][LOWER])


@given(arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(-(2.0**127), 2.0**127, width=32)))
def test_halves_make_the_whole(numbers):
    wanted = torch.from_numpy(numbers)
    upper, lower = torch.empty_like(wanted, dtype=torch.bfloat16), torch.empty_like(wanted, dtype=torch.int16)
    split_into(wanted.clone(), upper, lower)
    assert torch.equal(joined(upper, lower).view(torch.int32), wanted.view(torch.int32))
    nearest = wanted.bfloat16()
    tie = (wanted.view(torch.int32) & 0xFFFF) == 2**15  # there PyTorch rounds to even, here away from 0
    assert torch.equal(upper[~tie], nearest[~tie])


small = st.floats(2.0**-17, 65500, width=32) | st.floats(-65500, -(2.0**-17), width=32)


@given(arrays.arrays(np.float32, st.integers(0, 40), elements=small | st.just(0.0)))
def test_parts_of_float16_make_the_whole(numbers):
    wanted = torch.from_numpy(numbers)
    upper, lower = torch.empty_like(wanted, dtype=torch.float16), torch.empty_like(wanted, dtype=torch.int16)
    split_into(wanted.clone(), upper, lower)
    assert torch.equal(joined(upper, lower).view(torch.int32), wanted.view(torch.int32))
    assert torch.equal(upper, wanted.half())


@given(arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(-(2.0**-14), 2.0**-14, width=32)))
def test_float16_keeps_the_smallest_numbers_as_well_as_itself(numbers):
    wanted = torch.from_numpy(numbers)
    upper, lower = torch.empty_like(wanted, dtype=torch.float16), torch.empty_like(wanted, dtype=torch.int16)
    split_into(wanted.clone(), upper, lower)
    assert torch.equal(upper, wanted.half())
    assert ((joined(upper, lower) - wanted).abs() <= (upper.float() - wanted).abs()).all()


@HALVES
@pytest.mark.parametrize("kind", ["adamw", "adamw_8bit"])
def test_steps_are_those_of_float32_weights(kind, dtype):
    """Several parameters, small and large, one without a gradient, one in float32 beside them."""
    parameters = [*weights((300, 70), (5,), (4097,), dtype=dtype), torch.nn.Parameter(torch.ones(3))]
    idle = weights((8,), seed=1)[0]
    optimizer = optimizer_of([*parameters, idle], kind)
    give_gradients(parameters, 0)
    take_step(optimizer)
    starts = [in_full(optimizer, parameter) for parameter in parameters[:3]] + [parameters[3].detach().clone()]
    masters = [torch.nn.Parameter(start.clone()) for start in starts]
    reference = optimizer_of(masters, kind)
    tensors = optimizer_tensors(optimizer)
    restore_optimizer(reference, {name: value.clone() for name, value in tensors.items() if LOWER not in name})
    for step in range(1, 4):
        give_gradients(parameters, step)
        for master, parameter in zip(masters, parameters, strict=True):
            master.grad = parameter.grad.float()
        take_step(optimizer)
        reference.step()
    for master, parameter, start in zip(masters[:3], parameters[:3], starts[:3], strict=True):
        exact = (start.abs() > 1e-4) | (dtype == torch.bfloat16)  # float16 loses bits of numbers below 8e-6
        assert torch.equal(in_full(optimizer, parameter)[exact], master.detach()[exact])
        assert torch.allclose(parameter.detach().float(), master.detach(), rtol=2**-8, atol=6e-8)
        assert parameter.dtype == dtype
        assert parameter.grad is None
        moments = [value for key, value in optimizer.state[parameter].items() if key in ("exp_avg", "exp_avg_sq")]
        assert all(moment.dtype == torch.float32 for moment in moments)
    assert torch.equal(parameters[3], masters[3])
    assert torch.equal(idle, weights((8,), seed=1)[0])


def test_large_and_small_parameters_are_taken_in_turn(monkeypatch):
    monkeypatch.setattr("burnish.training.split_weights.PART", 100)
    first, second = (weights((60,), (60,), (200,), (10,), (20,)) for _ in range(2))
    whole, parts = optimizer_of(first), optimizer_of(second)
    for step in range(2):
        for parameters, optimizer in ((first, whole), (second, parts)):
            give_gradients(parameters, step)
            with monkeypatch.context() as patch:
                if optimizer is whole:
                    patch.setattr("burnish.training.split_weights.PART", 10**9)
                take_step(optimizer)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(in_full(whole, a), in_full(parts, b)) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("dtype", "bits"), [(torch.bfloat16, 7), (torch.float16, 10)])
def test_a_weight_in_the_middle_of_two_roundings_moves_on_average_as_far_as_it_should(dtype, bits):
    """Ten steps of a hundredth of what the format can tell apart: without a dither nothing would have moved."""
    (parameter,) = weights((200_000,), dtype=dtype)
    before = parameter.detach().clone()
    smallest = torch.exp2(torch.floor(torch.log2(before.float().abs())) - bits)
    rate = 2.0 ** (-13 - bits)
    optimizer = make_optimizer([("w", parameter)], kind="adamw", rate=rate, weight_decay=0.0)
    for _ in range(10):
        parameter.grad = torch.ones_like(parameter)
        take_step(optimizer)
    moved = (parameter.detach().float() - before.float()).double()
    assert smallest.median() / 10 > 10 * rate
    assert float(moved.mean()) == pytest.approx(-10 * rate, rel=0.03)
    assert 0 < float((moved != 0).double().mean()) < 0.2


@HALVES
def test_the_model_is_the_same_before_the_first_step(dtype):
    parameters = [*weights((50, 40), dtype=dtype), torch.nn.Parameter(torch.zeros(30).to(dtype))]
    before = copy.deepcopy(parameters)
    assert widen(parameters) == dtype
    for parameter, old in zip(parameters, before, strict=True):
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter.detach().to(dtype), old)
    assert (parameters[0].detach() != before[0].float()).double().mean() > 0.99
    assert torch.equal(parameters[1].detach(), torch.zeros(30))
    assert not widen(parameters)


def test_gradients_of_several_passes_are_added_up_in_float32():
    (parameter,) = weights((4,))
    add_up_in_float32([parameter], 300)
    for _ in range(300):
        (parameter * 1.0).sum().backward()
    assert parameter.grad.dtype == torch.float32
    assert torch.equal(parameter.grad, torch.full((4,), 300.0))  # bfloat16 ends at 256
    parameter.grad = None
    add_up_in_float32([parameter], 1)
    parameter.sum().backward()
    assert parameter.grad.dtype == torch.bfloat16


def test_a_scaled_gradient_in_float16_is_divided_in_float32():
    (parameter,) = weights((4,), dtype=torch.float16)
    add_up_in_float32([parameter], 1)
    (parameter * 2.0**-10).sum().backward()
    unscale([parameter], LossScale(2.0**16))
    assert torch.equal(parameter.grad, torch.full((4,), 2.0**-26))  # below what float16 holds


def test_the_guard_knows_moves_below_the_upper_half():
    model = torch.nn.Linear(30, 30).bfloat16()
    optimizer = make_optimizer(model.named_parameters(), kind="adamw", rate=1e-9, weight_decay=0.0)
    guard = MovedGuard(model, optimizer)
    for _ in range(2):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        model.bias.grad = torch.zeros_like(model.bias)
        take_step(optimizer)
    assert moved_below(optimizer, model.weight)
    assert not moved_below(optimizer, model.bias)
    with pytest.raises(Exception, match=r"1 trainable parameters did not change .*bias"):
        guard.check()


def test_a_model_learns_in_16_bits_what_it_learns_in_float32(tmp_path, monkeypatch):
    """At a rate whose steps bfloat16 alone would round away."""
    losses = {}
    for dtype in ("float32", "bfloat16", "float16"):
        _, result = run_training(tmp_path / dtype, settings(**SETTINGS, dtype=dtype))
        losses[dtype] = [line["loss"] for line in result.history if "loss" in line]
    monkeypatch.setattr("burnish.training.step.take_step", lambda optimizer: optimizer.step())
    monkeypatch.setattr("burnish.training.loop.MovedGuard.check", lambda guard: None)
    _, result = run_training(tmp_path / "rounded", settings(**SETTINGS, dtype="bfloat16"))
    losses["rounded"] = [line["loss"] for line in result.history if "loss" in line]
    fell = {name: found[0] - found[-1] for name, found in losses.items()}
    assert fell["bfloat16"] == pytest.approx(fell["float32"], rel=0.05)
    assert fell["float16"] == pytest.approx(fell["float32"], rel=0.01)
    assert fell["rounded"] < 0.5 * fell["float32"]
    last = list(itertools.islice(reversed(losses["float32"]), 5))
    assert losses["bfloat16"][-5:][::-1] == pytest.approx(last, rel=0.01)
