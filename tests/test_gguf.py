"""Fine-tuning straight from a GGUF file: the task file names it, and nothing else is needed."""

from __future__ import annotations

import pytest
import torch

import burnish
from burnish.models.adapters import read_info
from burnish.models.load import load_model
from burnish.runs import read_jsonl
from test_lifecycle import write_task
from tiny_gguf import save_tiny_gguf


def test_a_gguf_file_is_read_as_the_model_it_holds(tmp_path, monkeypatch):
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    expected = save_tiny_gguf(tmp_path / "tiny.gguf")
    loaded = load_model(str(tmp_path / "tiny.gguf"), dtype="float32")
    tokens = torch.arange(5, 25)[None]
    torch.testing.assert_close(loaded.model(tokens).logits, expected(tokens).logits, rtol=0.05, atol=0.02)
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("the cat")) == "the cat"
    packed = load_model(str(tmp_path / "tiny.gguf"), dtype="float32", quantise="nf4")
    assert packed.base_hash == loaded.base_hash


@pytest.mark.parametrize(
    ("pre", "text", "tokens"),
    [
        ("llama-bpe", "a dogcat", ["a", "Ġdogcat"]),  # a token that no merges lead to
        ("gpt-2", "a dogcat", ["a", "Ġdog", "cat"]),
        ("smollm", "12 ½", ["1", "2", "Ġ", "Â", "½"]),  # each digit apart, and what counts as one
        ("gpt-2", "12 ½", ["1", "2", "ĠÂ", "½"]),
        ("falcon", "a =", ["a", "Ġ", "="]),  # punctuation apart
        ("gpt-2", "a =", ["a", "Ġ="]),
    ],
)
def test_texts_are_cut_as_the_file_says(tmp_path, monkeypatch, pre, text, tokens):
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    save_tiny_gguf(tmp_path / "tiny.gguf", pre=pre, words=("Ġdogcat", "Ġ Â", "Ġ Ġ", "Ġ ="))
    assert burnish.load_tokenizer(str(tmp_path / "tiny.gguf")).tokenize(text) == tokens


def test_a_task_with_a_gguf_file_trains_answers_and_exports(tmp_path, monkeypatch):
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    save_tiny_gguf(tmp_path / "tiny.gguf")
    task = write_task(
        tmp_path,
        model="tiny.gguf",
        training={"learning_rate": 0.02, "max_steps": 6, "batch_size": 8, "lora_r": 4, "eval_examples": 8},
        generation={"max_new_tokens": 8},
    )
    run = burnish.run(task, runs_dir=tmp_path / "runs")
    lines = read_jsonl(run.path / "metrics.jsonl")
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]
    assert read_info(run.adapter).base_model.endswith("tiny.gguf")
    assert run.predict(["the apple number 3"])[0].text in ("red", "yellow", "green", "blue")
    run.export(tmp_path / "out")
    assert burnish.load_model(str(tmp_path / "out")).model.config.model_type == "llama"
