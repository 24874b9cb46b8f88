"""Optimizers: 8-bit moments against 32-bit ones, LoRA+ against peft's, and state that survives."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from burnish.errors import ConfigError
from burnish.training import optimizers
from burnish.training.optimizers import make_optimizer, optimizer_tensors, restore_optimizer, set_rate
from helpers_training import lora_model, run_training, settings

A, B = "layers.0.q_proj.lora_A.default.weight", "layers.0.q_proj.lora_B.default.weight"


def parameter(*shape, seed=0):
    return torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


def step(optimizer, parameters, number):
    generator = torch.Generator().manual_seed(100 + number)
    for each in parameters:
        each.grad = torch.randn(each.shape, generator=generator)
    optimizer.step()


def test_loraplus_moves_b_by_its_multiple_whatever_the_schedule_says():
    """Adam's first step moves every number by the rate, in the direction of the gradient's sign."""
    for rate in (0.01, 0.002):
        a, b = parameter(4, 8), parameter(8, 4)
        before = [a.detach().clone(), b.detach().clone()]
        optimizer = make_optimizer([(A, a), (B, b)], kind="adamw", rate=1.0, weight_decay=0.0, b_ratio=16)
        set_rate(optimizer, rate)
        step(optimizer, [a, b], 0)
        for now, then, moved in zip((a, b), before, (rate, 16 * rate), strict=True):
            assert (now.detach() - then).abs() == pytest.approx(torch.full(then.shape, moved).numpy(), rel=1e-3)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_loraplus_groups_are_those_of_peft(method):
    """But for DoRA's magnitudes, which peft trains at B's rate: they are no matrix of the product."""
    from peft.optimizers import create_loraplus_optimizer

    model, _ = lora_model(settings(method=method))
    ours = make_optimizer(model.named_parameters(), kind="adamw", rate=0.01, weight_decay=0.0, b_ratio=4)
    theirs = create_loraplus_optimizer(model, torch.optim.AdamW, lr=0.01, loraplus_lr_ratio=4)
    names = {id(each): name for name, each in model.named_parameters()}

    def rates(optimizer):
        found = {names[id(each)]: group["lr"] for group in optimizer.param_groups for each in group["params"]}
        return {name: rate for name, rate in found.items() if "magnitude" not in name}

    assert rates(ours) == rates(theirs)
    assert set(rates(ours).values()) == {0.01, 0.04}


def test_moments_in_8_bits_go_nearly_where_those_in_32_do():
    starts = [parameter(64, 128, seed=n) for n in range(2)] + [parameter(7)]
    found = {}
    for kind in ("adamw", "adamw_8bit"):
        mine = [torch.nn.Parameter(each.detach().clone()) for each in starts]
        optimizer = make_optimizer(
            [(f"w{n}", each) for n, each in enumerate(mine)], kind=kind, rate=0.01, weight_decay=0.1
        )
        for number in range(20):
            step(optimizer, mine, number)
        found[kind] = mine
        if kind == "adamw_8bit":
            held = [optimizer.state[each]["state1"].dtype for each in mine]
            assert held == [torch.uint8, torch.uint8, torch.float32]
    for left, right, start in zip(found["adamw"], found["adamw_8bit"], starts, strict=True):
        assert not torch.equal(left, start)
        assert (left - right).norm() < 0.1 * (left - start).norm()
    assert torch.allclose(found["adamw"][2], found["adamw_8bit"][2], atol=1e-6)


@pytest.mark.parametrize("kind", ["adamw", "adamw_8bit"])
def test_a_restored_optimizer_goes_on_to_the_same_bits(kind):
    def fresh(values):
        mine = [torch.nn.Parameter(value.detach().clone()) for value in values]
        named = [(A, mine[0]), (B, mine[1]), ("norm.weight", mine[2])]
        return mine, make_optimizer(named, kind=kind, rate=0.01, weight_decay=0.01, b_ratio=2)

    mine, optimizer = fresh([parameter(64, 128), parameter(128, 64), parameter(9)])
    for number in range(3):
        step(optimizer, mine, number)
    tensors = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()}
    again, other = fresh(mine)
    restore_optimizer(other, tensors)
    for number in range(3, 6):
        step(optimizer, mine, number)
        step(other, again, number)
    assert all(torch.equal(left, right) for left, right in zip(mine, again, strict=True))
    assert optimizer_tensors(other).keys() == tensors.keys()


def test_both_learn(tmp_path):
    for changes in ({"loraplus_lr_ratio": 4}, {"optimizer": "adamw_8bit", "method": "full", "learning_rate": 2e-3}):
        _, result = run_training(tmp_path / str(len(changes)), settings(num_epochs=6, **changes))
        losses = [line["loss"] for line in result.history if "loss" in line]
        assert losses[-1] < losses[0] - 0.1


def test_a_missing_package_is_told_with_the_command(monkeypatch):
    monkeypatch.setattr(optimizers, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"training\.optimizer") as caught:
        make_optimizer([("w", parameter(2))], kind="adamw_8bit", rate=0.1, weight_decay=0.0)
    assert "pip install" in str(caught.value)
    make_optimizer([("w", parameter(2))], kind="adamw", rate=0.1, weight_decay=0.0)


def test_the_check_loads_no_torch():
    code = (
        "import sys, burnish.training.optimizers as o; o.require_optimizer('adamw'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
