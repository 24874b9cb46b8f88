"""Two processes train as one does; what befalls one of them befalls all, in order."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

PAIR = Path(__file__).parent / "pair.py"


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The folder in which all scenarios of pair.py were played, by one process and by two."""
    folder = tmp_path_factory.mktemp("pair")
    done = subprocess.run([sys.executable, PAIR, folder], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def told(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


def values(found):
    return [value for line in found["history"] for value in line.values()]


def close(a, b, tolerance):
    return a.keys() == b.keys() and all(torch.allclose(a[name], b[name], atol=tolerance, rtol=0) for name in a)


@pytest.mark.parametrize(
    "name", ["as_one", "with_dpo", "with_kto", "scarce", "sharded", "sharded_full", "gradients_sharded"]
)
def test_two_processes_have_the_loss_curve_and_the_weights_of_one(played, name):
    one, two = told(played / "one", name), told(played / "two", name)
    assert [line.keys() for line in one["history"]] == [line.keys() for line in two["history"]]
    assert values(two) == pytest.approx(values(one), rel=1e-5, abs=1e-6)
    assert one["best"] == two["best"]
    left, right = (load_file(played / which / f"{name}.safetensors") for which in ("one", "two"))
    assert close(left, right, 2e-5)
    assert len(values(one)) > 4


@pytest.mark.parametrize("name", ["full_bfloat16", "sharded_bfloat16"])
def test_two_processes_train_all_weights_in_bfloat16_as_one_does(played, name):
    """Up to its rounding: a step of a weight is a part in 128 to 256 of it, and gradients are rounded apart."""
    one, two = told(played / "one", name), told(played / "two", name)
    assert values(two) == pytest.approx(values(one), rel=0.01)
    left, right = (load_file(played / which / f"{name}.safetensors") for which in ("one", "two"))
    assert close(left, {key: tensor.to(left[key].dtype) for key, tensor in right.items()}, 0.02)
    for which in ("one", "two"):  # stopped and taken up again: the same bits, lower ones included
        folders = [played / which / f"{name}{suffix}" for suffix in ("", "_interrupted")]
        whole, resumed = (folder.with_suffix(".safetensors").read_bytes() for folder in folders)
        assert whole == resumed
        states = [load_file(sorted(f.glob("checkpoints/step-*"))[-1] / "optimizer.safetensors") for f in folders]
        beside = any(key.endswith("lower_bits") for key in states[0])
        assert beside == ((which, name) != ("two", "sharded_bfloat16"))  # there the weights are float32 themselves
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_sharded_weights_in_float16_follow_one_process(played):
    one, two = told(played / "one", "sharded_float16"), told(played / "two", "sharded_float16")
    assert values(two) == pytest.approx(values(one), rel=0.01)
    left, right = (load_file(played / which / "sharded_float16.safetensors") for which in ("one", "two"))
    assert {tensor.dtype for tensor in left.values()} == {torch.float16}
    assert close(left, {key: tensor.to(left[key].dtype) for key, tensor in right.items()}, 0.005)


def test_weights_stay_whole_while_a_step_computes(played):
    assert told(played / "two", "gradients_sharded")["cut"] == [[True, False]]
    assert told(played / "one", "gradients_sharded")["cut"] == [[False, False]]


def test_a_resumed_pair_ends_with_the_bits_of_an_uninterrupted_one(played):
    """With dropout: each process goes on with its own random numbers."""
    left, right = (played / "two" / f"{name}.safetensors" for name in ("dropping", "dropping_interrupted"))
    assert left.read_bytes() == right.read_bytes()
    assert told(played / "two", "dropping") == told(played / "two", "dropping_interrupted")


def test_processes_drop_different_things(played):
    """Were the random numbers the same in both, their rows would drop out alike."""
    from safetensors import safe_open

    [newest] = sorted((played / "two" / "dropping" / "checkpoints").glob("step-*"))[-1:]
    with safe_open(newest / "rng.safetensors", "pt") as file:
        assert set(file.keys()) == {"torch", "torch.1"}
        assert not torch.equal(file.get_tensor("torch"), file.get_tensor("torch.1"))


@pytest.mark.parametrize("which", ["one", "two"])
def test_not_a_number_in_one_process_stops_all_and_names_the_examples_of_the_step(played, which):
    found = told(played / which, "not_finite")
    assert "not finite in step 4" in found["error"]
    assert found["error"].count("rows.jsonl:") == 4
    assert found["kept"] == ["step-000003"]
    assert found["lines"] == 3


def test_sharded_checkpoints_are_those_of_one_process(played):
    """Same files, same shapes: either can go on from the other's."""
    names = sorted(path.name for path in (played / "one" / "sharded" / "checkpoints").iterdir())
    assert names == sorted(path.name for path in (played / "two" / "sharded" / "checkpoints").iterdir())
    for file in ("adapter_model.safetensors", "optimizer.safetensors"):
        shapes = [
            {key: tensor.shape for key, tensor in load_file(path).items()}
            for path in (played / which / "sharded" / "checkpoints" / names[-1] / file for which in ("one", "two"))
        ]
        assert shapes[0] == shapes[1]
