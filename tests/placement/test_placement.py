"""The engine on a GPU that is not there: each operation finds its tensors on one device, few wait for it.

Shapes, number formats and devices are real, values are not (fake_gpu.py): this shows where tensors are, not how fast
or how exact a GPU is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

PROGRAM = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); import fake_gpu; fake_gpu.main()"  # the device, then torch
HERE = Path(__file__).parent
STEP = {"training/step.py:_added_up": 1, "training/step.py:_gradients": 1}  # the loss, and the gradient's norm
STEPS = (
    "sft", "rows", "blocks", "masked", "several passes", "bfloat16", "float16", "checkpointing", "dropout",
    "all weights in bfloat16", "and in several passes", "all weights in float16", "trained head",
    "full", "dora", "ia3", "bottleneck", "prefix_tuning", "prompt_tuning",
)  # fmt: skip
OTHERS = ("unfused head", "dpo", "orpo", "simpo", "kto", "generate", "score", "embed")

pytestmark = pytest.mark.skipif(
    torch.version.cuda is not None or torch.version.hip is not None or shutil.which("g++") is None,
    reason="needs g++ and a PyTorch that was built without CUDA",
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What every scenario did, by its name."""
    library = tmp_path_factory.mktemp("stub") / "cuda_stub.so"
    torch_folder = Path(torch.__file__).parent
    folders = [f"-I{torch_folder / 'include'}", f"-L{torch_folder / 'lib'}", f"-Wl,-rpath,{torch_folder / 'lib'}"]
    command = ["g++", "-std=c++20", "-shared", "-fPIC", str(HERE / "cuda_stub.cpp"), *folders]
    subprocess.run([*command, "-Wl,--no-as-needed", "-lc10", "-ltorch_cpu", "-o", str(library)], check=True)
    paths = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(library)],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", STEPS)
def test_a_step_stays_on_the_gpu_and_reads_two_values(outcomes, name):
    """Whatever the number of passes and layers."""
    assert outcomes[name]["error"] is None
    assert outcomes[name]["launches"] > 100
    assert Counter(outcomes[name]["waits"]) == STEP


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_else_mixes_devices(outcomes, name):
    assert outcomes[name]["error"] is None
    assert outcomes[name]["launches"] > 100


def test_every_scenario_is_looked_at(outcomes):
    assert {*STEPS, *OTHERS, "planted tensor", "planted wait"} == set(outcomes)


def test_mistakes_that_are_planted_are_found(outcomes):
    assert "mixes devices" in outcomes["planted tensor"]["error"]
    waits = Counter(outcomes["planted wait"]["waits"])
    assert waits.pop("models/rms_norm.py:rms_norm") > 0
    assert waits == STEP
