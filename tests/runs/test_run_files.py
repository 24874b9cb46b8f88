from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import RunError
from burnish.runs import files
from burnish.runs.files import (
    MANIFEST,
    append_jsonl,
    clean_temporaries,
    commit_folder,
    read_json,
    read_jsonl,
    verify_folder,
    write_bytes,
    write_json,
    write_jsonl,
    write_text,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path):
    folder = tmp_path / "new" / "folder"
    write_bytes(folder / "a.bin", b"\x00\xff")
    write_text(folder / "a.txt", "zwölf\r\n")
    write_json(folder / "a.json", {"b": [1, 2.5, None, "ü"]})
    write_jsonl(folder / "a.jsonl", ({"row": row} for row in range(3)))
    assert (folder / "a.bin").read_bytes() == b"\x00\xff"
    assert (folder / "a.txt").read_bytes() == "zwölf\r\n".encode()
    assert read_json(folder / "a.json") == {"b": [1, 2.5, None, "ü"]}
    assert read_jsonl(folder / "a.jsonl") == [{"row": 0}, {"row": 1}, {"row": 2}]
    assert names(folder) == ["a.bin", "a.json", "a.jsonl", "a.txt"]


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [{"old": 1}])

    def lines():
        yield {"new": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(path, lines())
    with pytest.raises(TypeError):
        write_json(path, {"no json": object()})
    assert read_jsonl(path) == [{"old": 1}]
    assert names(tmp_path) == ["a.jsonl"]


KILLED = """
import os, signal, sys
from pathlib import Path
from burnish.runs import files

moment = sys.argv[2]
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if moment == "before_rename":
    Path.replace = kill
    Path.rename = kill
elif moment == "in_write":
    os.fsync = kill
elif moment == "after_rename":
    files.sync_folder = kill
exec(sys.argv[3])
"""


def killed(path, moment, code):
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), moment, code], check=False, timeout=60)
    assert done.returncode == -9


@pytest.mark.parametrize("moment", ["in_write", "before_rename", "after_rename"])
def test_a_writer_killed_at_any_moment_leaves_the_old_file_or_the_new(tmp_path, moment):
    path = tmp_path / "run.json"
    write_json(path, {"status": "old"})
    killed(path, moment, "files.write_json(Path(sys.argv[1]), {'status': 'new'})")
    assert read_json(path) == {"status": "new" if moment == "after_rename" else "old"}
    left = clean_temporaries(tmp_path)
    assert len(left) == (moment != "after_rename")
    assert names(tmp_path) == ["run.json"]


@pytest.mark.parametrize("moment", ["in_write", "before_rename"])
def test_a_killed_commit_is_never_seen(tmp_path, moment):
    filled(tmp_path / ".writing")
    killed(tmp_path, moment, "files.commit_folder(Path(sys.argv[1]) / '.writing', Path(sys.argv[1]) / 'step-1')")
    assert not (tmp_path / "step-1").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_full_or_forbidden_disk_is_told_as_such(tmp_path, monkeypatch, code):
    path = tmp_path / "a.json"
    write_json(path, 1)

    def refuse(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", refuse)
    for write in (lambda: write_json(path, 2), lambda: append_jsonl(path, {"a": 1})):
        with pytest.raises(RunError, match=rf"a.json: cannot be written: {os.strerror(code)}(.|\n)*fix: free some"):
            write()
    assert names(tmp_path) == ["a.json"]
    assert path.read_text() == "1\n"


def test_other_errors_of_the_system_are_not_dressed_up(tmp_path, monkeypatch):
    def broken(handle):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(files.os, "fsync", broken)
    with pytest.raises(OSError, match="input/output"):
        write_text(tmp_path / "a", "b")


def test_missing_and_damaged_json_is_named(tmp_path):
    with pytest.raises(RunError, match=r"run.json: the file is missing"):
        read_json(tmp_path / "run.json")
    with pytest.raises(RunError, match=r"m.jsonl: the file is missing"):
        read_jsonl(tmp_path / "m.jsonl")
    for data in (b'{"a": ', b"\xff\xfe", b"", b"[" * 100_000):
        (tmp_path / "run.json").write_bytes(data)
        with pytest.raises(RunError, match=r"run.json: the file is no JSON"):
            read_json(tmp_path / "run.json")


# --- JSONL ---


def test_append_one_or_several(tmp_path):
    path = tmp_path / "sub" / "metrics.jsonl"
    assert append_jsonl(path, {"step": 1}) is None
    assert append_jsonl(path, [{"step": 2}, {"step": 3, "loss": float("nan")}]) is None
    assert append_jsonl(path, []) is None
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": "NaN"}]


def test_a_cut_last_line_is_left_out_and_told(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo')
    told = []
    assert read_jsonl(path, told.append) == [{"step": 1}]
    assert told == [f"{path}:2: the last line was cut off and is left out (15 bytes)"]


def test_append_after_a_crash_takes_the_cut_line_away_and_returns_it(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo')
    assert append_jsonl(path, {"step": 2}) == '{"step": 2, "lo'
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}]


def test_a_line_that_only_lost_its_end_is_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}')
    assert append_jsonl(path, {"step": 2}) is None
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}]


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=40), min_size=1), min_size=1, max_size=5),
    data=st.data(),
)
def test_a_file_cut_anywhere_loses_only_its_last_line(tmp_path_factory, rows, data):
    path = tmp_path_factory.mktemp("cut") / "metrics.jsonl"
    write_jsonl(path, rows)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = read_jsonl(path)
    assert kept == rows[: len(kept)]
    assert len(kept) >= whole[:cut].count(b"\n")
    append_jsonl(path, {"next": "row"})
    assert read_jsonl(path) == [*kept, {"next": "row"}]


def test_a_long_cut_line_is_found_in_blocks(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": "' + b"x" * 200_000)
    assert len(append_jsonl(path, {"c": 1}) or "") == 200_007
    assert read_jsonl(path) == [{"a": 1}, {"c": 1}]


@pytest.mark.parametrize("bad", [b'{"step": 1', b"12", b"[1]", b"\x00\x00"])
def test_damage_before_the_last_line_is_an_error_with_its_place(tmp_path, bad):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\n' + bad + b'\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"metrics.jsonl:3: the line is no JSON object"):
        read_jsonl(path)


# --- folders ---


def filled(folder: Path) -> Path:
    (folder / "inner").mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(bytes(range(256)) * 20)
    (folder / "inner" / "state.json").write_text('{"step": 100}')
    (folder / "empty").write_bytes(b"")
    return folder


def test_commit_gives_the_name_and_a_manifest(tmp_path):
    commit_folder(filled(tmp_path / ".writing"), tmp_path / "checkpoints" / "step-000100")
    final = tmp_path / "checkpoints" / "step-000100"
    assert not (tmp_path / ".writing").exists()
    manifest = json.loads((final / MANIFEST).read_text())
    assert sorted(manifest["files"]) == ["adapter.safetensors", "empty", "inner/state.json"]
    assert manifest["files"]["empty"]["sha256"].startswith("e3b0c442")
    assert verify_folder(final) == []


def test_commit_replaces_an_older_folder(tmp_path):
    for content in (b"old", b"new"):
        temporary = tmp_path / ".writing"
        temporary.mkdir()
        (temporary / content.decode()).write_bytes(content)
        commit_folder(temporary, tmp_path / "step-1")
    assert names(tmp_path) == ["step-1"]
    assert names(tmp_path / "step-1") == [MANIFEST, "new"]
    assert verify_folder(tmp_path / "step-1") == []


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_flipped_byte_is_found_and_named(tmp_path_factory, data):
    final = tmp_path_factory.mktemp("flip") / "step-1"
    commit_folder(filled(final.parent / ".writing"), final)
    name = data.draw(st.sampled_from(["adapter.safetensors", "inner/state.json"]))
    content = bytearray((final / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (final / name).write_bytes(content)
    assert verify_folder(final) == [name]


def test_cut_and_missing_files_are_named(tmp_path):
    final = tmp_path / "step-1"
    commit_folder(filled(tmp_path / ".writing"), final)
    (final / "adapter.safetensors").write_bytes(b"\x00")
    (final / "inner" / "state.json").unlink()
    assert verify_folder(final) == ["adapter.safetensors", "inner/state.json"]


@pytest.mark.parametrize(
    "manifest", [None, b"", b"{}", b'{"files": []}', b'{"files": {"a": 1}}', b'{"files": {"a": {"sha256": ""}}}']
)
def test_a_folder_without_a_sound_manifest_is_damaged(tmp_path, manifest):
    filled(tmp_path / "step-1")
    if manifest is not None:
        (tmp_path / "step-1" / MANIFEST).write_bytes(manifest)
    assert verify_folder(tmp_path / "step-1") == [MANIFEST]
    assert verify_folder(tmp_path / "nowhere") == [MANIFEST]


def test_a_manifest_cannot_point_outside(tmp_path):
    final = tmp_path / "step-1"
    commit_folder(filled(tmp_path / ".writing"), final)
    (tmp_path / "secret").write_bytes(b"")
    manifest = json.loads((final / MANIFEST).read_text())
    manifest["files"]["../secret"] = manifest["files"]["empty"]
    (final / MANIFEST).write_text(json.dumps(manifest))
    assert verify_folder(final) == ["../secret"]


def test_links_are_not_committed(tmp_path):
    folder = filled(tmp_path / ".writing")
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(RunError, match="cannot hold links"):
        commit_folder(folder, tmp_path / "step-1")
    assert not (tmp_path / "step-1").exists()
