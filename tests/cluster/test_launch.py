"""The launcher with workers of a few lines: what it says when they fail, and that none of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from burnish.cluster.launch import Launch, WorkerLostError, launch
from burnish.cluster.messages import Sender, error_from, error_message, tell
from burnish.cluster.place import Place, find_place
from burnish.errors import DataError, Interrupted, RunError, TrainingError
from notes import Notes

HEAD = """
import json, os, signal, sys, time
from burnish.cluster.lifeline import end_with_parent
from burnish.cluster.messages import Sender, error_message
from burnish.errors import Interrupted, TrainingError
rank = int(os.environ["RANK"])
pipe = os.fdopen(int(os.environ["BURNISH_MESSAGES"]), "wb", buffering=0)
send = lambda message: pipe.write(json.dumps(message).encode() + b"\\n")
folder = sys.argv[1]
with open(f"{folder}/new-{rank}", "w") as file:
    file.write(str(os.getpid()))
os.replace(f"{folder}/new-{rank}", f"{folder}/pid-{rank}")  # whole, or a worker killed meanwhile leaves an empty one
"""
DONE = "send({'type': 'fitted', 'rank': rank}) if rank == 0 else None"


def run(folder: Path, body: str, *, size: int = 2, max_restarts: int = 0):
    notes = Notes()
    command = [sys.executable, "-c", HEAD + body, str(folder)]
    try:
        return launch(Launch(command, size, folder / "workers", 2, max_restarts), notes), notes
    finally:
        for file in folder.glob("pid-*"):
            assert not alive(int(file.read_text())), "a worker is left"


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_progress_of_the_first_worker_and_its_result_arrive(tmp_path):
    body = """
if rank == 0:
    progress = Sender(send)
    progress.stage("train", "x")
    progress.notice("näher", warning=True)
    progress.advance("steps", 1, 2, {"loss": "1"})
print(os.environ["OMP_NUM_THREADS"], os.environ["WORLD_SIZE"], os.environ["LOCAL_RANK"])
"""
    result, notes = run(tmp_path, body + DONE)
    assert result == {"type": "fitted", "rank": 0}
    assert notes.told == [
        ("stage", "train", "x"),
        ("notice", "näher", True),
        ("advance", "steps", 1, 2, {"loss": "1"}),
    ]
    assert (tmp_path / "workers" / "worker-1.log").read_text() == "1 2 1\n"


def test_a_killed_worker_ends_the_others_and_is_named_with_its_last_words(tmp_path):
    body = """
if rank == 1:
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(600)
"""
    with pytest.raises(WorkerLostError, match=r"worker 1 of 2 \(process \d+\) was ended by SIGKILL") as caught:
        run(tmp_path, body)
    assert "last words" in str(caught.value)
    assert "memory ran out" in str(caught.value)
    assert isinstance(caught.value, RunError)


def test_a_lost_connection_is_not_taken_for_the_cause(tmp_path):
    """The survivor's complaint arrives before the death is noticed."""
    body = """
if rank == 0:
    send(error_message(RuntimeError("gloo: Connection closed by peer [127.0.0.1]:1")))
    os._exit(1)
time.sleep(0.5)
os._exit(7)
"""
    with pytest.raises(WorkerLostError, match=r"worker 1 of 2 .* ended with status 7"):
        run(tmp_path, body)


def test_a_workers_own_error_is_raised_and_not_tried_again(tmp_path):
    body = """
if rank == 1:
    send(error_message(TrainingError("the loss is not finite", got=[1], where="rows.jsonl:3", fix="look")))
    os._exit(1)
time.sleep(600)
"""
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, body, max_restarts=3)
    assert str(caught.value) == str(
        TrainingError("the loss is not finite", got=[1], where="rows.jsonl:3", fix="look")
    )


def test_restarts_are_counted(tmp_path):
    body = """
count = f"{folder}/count"
seen = len(open(count).read()) if os.path.exists(count) else 0
if rank == 1:
    open(count, "a").write("x")
if seen < 2:
    os.kill(os.getpid(), signal.SIGKILL) if rank == 1 else time.sleep(600)
"""
    result, notes = run(tmp_path, body + DONE, max_restarts=2)
    assert result["type"] == "fitted"
    assert [told[1].rpartition("(")[2] for told in notes.told] == ["restart 1 of 2)", "restart 2 of 2)"]
    (tmp_path / "count").unlink()
    with pytest.raises(WorkerLostError):
        run(tmp_path, body, max_restarts=1)


def test_ctrl_c_is_passed_on_and_the_workers_finish(tmp_path):
    body = """
def stop(*_):
    if rank == 1:
        time.sleep(0.3)
    send(error_message(Interrupted(f"stopped after step 5; a checkpoint is saved")))
    os._exit(1)
signal.signal(signal.SIGINT, stop)
open(f"{folder}/ready-{rank}", "w")
time.sleep(600)
"""

    def interrupt():
        while len(list(tmp_path.glob("ready-*"))) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Interrupted, match="after step 5"):
        run(tmp_path, body)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_workers_do_not_outlive_who_started_them(tmp_path):
    body = "end_with_parent(0)\ntime.sleep(600)"
    code = f"""
from burnish.cluster.launch import Launch, launch
from burnish.progress import Silent
from pathlib import Path
launch(Launch({[sys.executable, "-c", HEAD + body, str(tmp_path)]!r}, 2, Path({str(tmp_path)!r}), 2), Silent())
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 120
    while len([f for f in tmp_path.glob("pid-*") if f.read_text()]) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    parent.kill()
    parent.wait()
    workers = [int(file.read_text()) for file in tmp_path.glob("pid-*")]
    while any(alive_and_no_zombie(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(workers) == 2
    assert not any(alive_and_no_zombie(worker) for worker in workers)


def alive_and_no_zombie(process: int) -> bool:
    import psutil

    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("error", [DataError("bad", got="x" * 200), Interrupted("stopped", fix="resume")])
def test_errors_keep_their_words(error):
    again = error_from(error_message(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_a_defect_keeps_its_traceback():
    try:
        raise KeyError("lost")
    except KeyError as error:
        again = error_from(error_message(error))
    assert "test_a_defect_keeps_its_traceback" in str(again)
    assert not isinstance(again, RunError)


def test_other_messages_are_no_progress():
    assert not tell({"type": "fitted"}, Notes())
    sent = []
    Sender(sent.append).advance("x", 1, 2)
    assert tell(sent[0], Notes())


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WORLD_SIZE": "1", "RANK": "0"}, None),
        (
            {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
            Place(3, 4, 1, 2),
        ),
    ],
)
def test_places_are_those_of_torchrun(environment, expected):
    assert find_place(environment) == expected
    if expected:
        assert find_place(expected.environment()) == expected


@pytest.mark.parametrize(
    "environment",
    [{"WORLD_SIZE": "2"}, {"WORLD_SIZE": "two", "RANK": "0"}],
)
def test_what_cannot_be_followed_is_refused(environment):
    with pytest.raises(RunError) as caught:
        find_place(environment)
    assert caught.value.fix
