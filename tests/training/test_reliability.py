"""What training must survive: kills anywhere, kills within a save, a full disk.

The kills are real SIGKILLs of real processes, at random lines of training/ and runs/ and before each file operation
of a save (kills.py); those at random moments of a whole run are in tests/test_lifecycle.py.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from burnish.errors import RunError
from burnish.models.adapters import adapter_state
from burnish.progress import Silent
from burnish.runs import verify_folder
from burnish.training import checkpoints
from helpers_training import lora_model, run_training, settings

KILLS = Path(__file__).parent / "kills.py"


@pytest.fixture(scope="module")
def kills(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    done = subprocess.run([sys.executable, KILLS, folder], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())


def test_killed_50_times_at_random_lines_the_weights_are_the_same_bits(kills):
    assert kills["kills"] == 50
    assert kills["finished"] == kills["same"] >= 3
    assert kills["lines"] > 1000


def test_killed_at_every_file_boundary_of_a_save_no_bad_resume(kills):
    saves = kills["saves"]
    assert len(saves) > 20
    assert all(save["step"] in (4, 6) and save["intact"] for save in saves)
    steps = [save["step"] for save in saves]
    assert steps == sorted(steps)  # once the new checkpoint is there it stays
    assert {4, 6} == set(steps)
    assert all(save["again"] == 6 and not save["left"] for save in saves)


@pytest.mark.parametrize(("place", "good"), [("tensors", 6), ("text", 2), ("manifest", 4), ("log", 60)])
def test_disk_full_is_named_and_the_checkpoint_before_stays(tmp_path, monkeypatch, place, good):
    """A later save meets a full disk, as safetensors and as Python report it, after so many good calls."""
    config = settings(max_steps=8, checkpoint_steps=2)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    calls = []

    def failing_later(real, error):
        def patched(*arguments, **options):
            calls.append(1)
            if len(calls) > good:
                raise error
            return real(*arguments, **options)

        return patched

    if place == "tensors":
        from safetensors import SafetensorError

        told = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        import safetensors.torch

        monkeypatch.setattr(safetensors.torch, "save_file", failing_later(safetensors.torch.save_file, told))
    elif place == "manifest":
        monkeypatch.setattr(checkpoints, "commit_folder", failing_later(checkpoints.commit_folder, full))
    elif place == "text":
        monkeypatch.setattr(Path, "write_text", failing_later(Path.write_text, full))
    else:
        monkeypatch.setattr("burnish.runs.files.os.fsync", failing_later(os.fsync, full))
    with pytest.raises(RunError, match="No space left on device") as caught:
        run_training(tmp_path, config)
    assert "fix:" in str(caught.value)
    left = tmp_path / "checkpoints"
    assert not list(left.glob(".writing-*")), "what could not be finished would keep the disk full"
    assert list(left.glob("step-*"))
    assert all(verify_folder(path) == [] for path in left.glob("step-*"))
    monkeypatch.undo()
    whole, _ = run_training(tmp_path / "whole", config)
    resumed, _ = run_training(tmp_path, config)
    assert_same(whole, resumed)


def assert_same(a, b):
    left, right = adapter_state(a), adapter_state(b)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_really_full_disk():
    """A file system of 300 kB: a checkpoint of it fits, the next does not."""
    # Not below pytest's folder, which other sessions clean up.
    disk = Path(tempfile.mkdtemp(prefix="burnish-full-"))
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        disk.rmdir()
        pytest.skip("there is no mount here")
    if done.returncode:
        disk.rmdir()
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(RunError, match="No space left on device"):
            run_training(disk, settings(checkpoint_steps=1, keep_checkpoints=9, evals_per_epoch=0.1))
        steps = sorted((disk / "checkpoints").glob("step-*"))
        assert steps
        assert all(verify_folder(path) == [] for path in steps)
        model, _ = lora_model(settings())
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
        state = checkpoints.load_newest(disk / "checkpoints", model, optimizer, Silent())
        assert state is not None
        assert state.step == len(steps)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)  # a checkpoint of it may be mapped still
        disk.rmdir()


def test_damaged_checkpoints_do_not_push_out_good_ones(tmp_path):
    """Step 6 cannot be read; a run that goes on from before keeps its own next save, not the damaged one."""
    config = settings(max_steps=6, keep_checkpoints=1, evals_per_epoch=0.1)
    run_training(tmp_path, config)
    folder = tmp_path / "checkpoints"
    (folder / "step-000006" / "state.json").write_text("{")
    model, _ = lora_model(config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
    checkpoints.save_checkpoint(folder, model, optimizer, checkpoints.TrainerState(step=4), keep=1)
    assert [path.name for path in folder.glob("step-*")] == ["step-000004"]
