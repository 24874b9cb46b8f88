"""Whole runs in several processes: our own workers, torchrun, accelerate, Ray."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

import burnish
from burnish.errors import RunError
from burnish.runs import read_json, read_jsonl
from notes import Notes
from test_lifecycle import start, wait_for_steps, write_task

SMALL = {
    "learning_rate": 0.003, "max_steps": 24, "batch_size": 8, "checkpoint_steps": 5, "lora_r": 4,
    "dtype": "float32",  # bfloat16 sums of other parts differ by more than what is asked for here
    "eval_examples": 8, "early_stopping_patience": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def task(folder):
    return write_task(folder, training=SMALL, baselines=["majority"])


@pytest.fixture(scope="module")
def alone(folder, task):
    return burnish.run(task, runs_dir=folder / "alone")


def losses(run_dir: Path) -> list[float]:
    lines = read_jsonl(run_dir / "metrics.jsonl")
    return [line[name] for line in lines for name in ("loss", "validation_loss", "validation_metric") if name in line]


def names(run_dir: Path) -> set[str]:
    return {path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*")}


def assert_alike(run_dir: Path, alone: burnish.Run) -> None:
    """The same curve, files and adapter as one process leaves."""
    assert losses(run_dir) == pytest.approx(losses(alone.path), rel=1e-5)
    assert names(run_dir) == names(alone.path)
    left, right = (load_file(path / "adapter" / "adapter_model.safetensors") for path in (run_dir, alone.path))
    assert left.keys() == right.keys()
    assert all(torch.allclose(left[name], right[name], atol=1e-4) for name in left)


def test_stopped_killed_and_restarted_two_processes_end_as_one(folder, task, alone):
    """Ctrl-C at step 4 or later, resumed with whole weights; kill -9 of a worker, restarted from a checkpoint."""
    runs = folder / "pair"
    process = start(task, runs, "--processes", "2", "--set", "training.sharding=fsdp")
    wait_for_steps(runs, 4, process)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1].decode()
    assert process.returncode == 130, said
    assert f"--processes 2 --runs-dir {runs} --set training.sharding=fsdp --resume" in said
    [run_dir] = runs.glob("colours-*")
    assert read_json(run_dir / "run.json")["status"] == "interrupted"
    stopped = len([line for line in read_jsonl(run_dir / "metrics.jsonl") if "loss" in line])
    assert (run_dir / "checkpoints" / f"step-{stopped:06d}").is_dir()

    def kill_one():
        log = run_dir / "metrics.jsonl"
        while "worker" not in killed:
            workers = [p for p in psutil.Process().children() if "burnish.worker" in " ".join(p.cmdline())]
            if len(workers) == 2 and log.read_text().count("learning_rate") > stopped + 2:
                killed["worker"] = workers[1].pid
                workers[1].kill()
            time.sleep(0.05)

    killed: dict[str, int] = {}
    notes = Notes()
    thread = threading.Thread(target=kill_one)
    thread.start()
    resumed = burnish.run(task, runs_dir=runs, resume=True, processes=2, progress=notes)
    thread.join()
    assert resumed.path == run_dir
    assert any(f"(process {killed['worker']}) was ended by SIGKILL" in line for line in notes.lines)
    assert any("restart 1 of 1" in line for line in notes.lines)
    assert_alike(run_dir, alone)
    assert read_json(run_dir / "run.json")["training"]["processes"] == 2


def launched(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


def test_torchrun_with_sharded_weights(folder, task, alone):
    runs = folder / "torchrun"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "burnish",
    ]
    options = ["--runs-dir", str(runs), "--set", "training.sharding=fsdp", "--quiet"]
    done = launched([*command, "run", str(task), *options])
    [run_dir] = runs.glob("colours-*")
    assert read_json(run_dir / "run.json")["status"] == "done", done.stderr[-3000:]
    assert done.returncode == 0, "whatever the verdict: torchrun calls other statuses failures"
    assert ("hold: " in done.stderr) == (read_json(run_dir / "verdict.json")["decision"] == "hold")
    assert read_json(run_dir / "run.json")["training"]["processes"] == 2
    assert_alike(run_dir, alone)


def test_dora_with_sharded_weights(folder):
    """Its norms need a weight in full, and its magnitudes are cut as well."""
    training = SMALL | {"method": "dora", "max_steps": 8}
    runs = []
    for name, processes in (("none", 1), ("fsdp", 2)):
        (folder / name).mkdir()
        task = write_task(folder / name, training=training | {"sharding": name}, baselines=["majority"])
        runs.append(burnish.run(task, runs_dir=folder / name / "runs", processes=processes))
    assert_alike(runs[1].path, runs[0])


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        (["--multi_gpu"], ""),
        (["--use_fsdp", "--fsdp_version", "2"], "accelerate asks for FSDP 2: done by training.sharding: fsdp"),
    ],
    ids=["processes", "fsdp"],
)
def test_accelerate_launch(folder, task, alone, configuration, said):
    """Its processes are taken, and its sharding; on CPUs it starts several only in these ways (or with mpirun)."""
    command = [sys.executable, "-m", "accelerate.commands.launch", *configuration, "--num_processes", "2"]
    options = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "burnish", "run"]
    runs = folder / configuration[0].strip("-")
    done = launched([*command, *options, str(task), "--runs-dir", str(runs)])
    [run_dir] = runs.glob("colours-*")
    assert read_json(run_dir / "run.json")["status"] == "done", done.stderr[-3000:]
    assert said in done.stderr
    assert read_json(run_dir / "run.json")["config"]["training"]["sharding"] == ("fsdp" if said else "none")
    assert_alike(run_dir, alone)


def test_deepspeed_by_accelerate(folder, task, alone):
    """The variables that `accelerate launch --use_deepspeed` sets; it starts nothing where deepspeed is missing."""
    asked = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    runs = folder / "deepspeed"
    done = launched([*command, "-m", "burnish", "run", str(task), "--runs-dir", str(runs)], **asked)
    [run_dir] = runs.glob("colours-*")
    assert read_json(run_dir / "run.json")["status"] == "done", done.stderr[-3000:]
    assert "accelerate asks for DeepSpeed ZeRO stage 2: done by training.sharding: shard_grad_op" in done.stderr
    assert_alike(run_dir, alone)


def test_launchers_and_options_contradict(monkeypatch, task, folder):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(RunError, match="launcher has started several processes"):
        burnish.run(task, runs_dir=folder / "no", processes=2)


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install 'burnish[ray]'"
)
def test_ray_on_this_machine(folder, task, alone):
    """Two actors; one is killed, and training goes on from the last checkpoint."""
    runs = folder / "ray"
    process = start(task, runs, "--cluster", "local", "--processes", "2")
    wait_for_steps(runs, 8, process)
    actors = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "Worker.train" in " ".join(child.cmdline())
    ]
    actors[-1].kill()
    said = process.communicate()[1].decode()
    assert process.returncode in (0, 3), said
    assert "restart 1 of 1" in said
    [run_dir] = runs.glob("colours-*")
    assert_alike(run_dir, alone)
