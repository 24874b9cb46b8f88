"""Near duplicates against all pairs and against datasketch; contamination against a plain search."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.data.check import check_examples, check_files
from burnish.data.checks.base import text_row
from burnish.data.checks.contamination import read_material
from burnish.data.checks.minhash import (
    BANDS,
    ROWS,
    band_keys,
    estimates,
    is_near,
    normalised,
    pairs_across,
    pairs_within,
    shingles,
    signatures,
    similarity,
)
from burnish.data.checks.near import NearRows
from burnish.data.fingerprint import example_id
from burnish.data.split import split_given
from burnish.errors import DataError
from burnish.records import Example, Finding, Json, Kind, Message, Source

WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in ("lm", "rst", "n", "pp")]


def make(text: str, target: Json, line: int, file: str = "f", system: str = "") -> Example:
    messages = ((Message("system", system),) if system else ()) + (Message("user", text),)
    return Example(example_id(messages, target), messages, target, Source(file, line))


def found(examples: list[Example], kind: str, of: Kind = "classification") -> Finding | None:
    return next((item for item in check_examples(examples, kind=of).findings if item.kind == kind), None)


def plain_jaccard(one: str, other: str) -> float:
    sets = [{text.ljust(5)[at : at + 5] for at in range(max(len(text) - 4, 1))} for text in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_shingles_against_slices(texts: list[str]) -> None:
    hashes, starts = shingles(texts)
    slices = [[text.ljust(5)[at : at + 5] for at in range(len(text.ljust(5)) - 4)] for text in texts]
    assert np.diff(starts.astype(int)).tolist() == [len(made) for made in slices]
    flat = [piece for made in slices for piece in made]
    by_piece: dict[str, int] = {}
    for piece, value in zip(flat, hashes.tolist(), strict=True):
        assert by_piece.setdefault(piece, value) == value
    assert len(set(by_piece.values())) == len(by_piece)
    assert similarity(texts[0], texts[-1]) == pytest.approx(plain_jaccard(texts[0], texts[-1]))


def test_estimates_are_those_of_datasketch() -> None:
    """Both estimate the same similarity, each with the error of 120 hashes."""
    rng = random.Random(3)
    pairs = []
    for _ in range(60):
        words = rng.choices(WORDS, k=60)
        changed = [word if rng.random() > 0.1 else rng.choice(WORDS) for word in words]
        pairs.append((" ".join(words), " ".join(changed)))
    made = signatures(*shingles([text for pair in pairs for text in pair]))
    ours = estimates(made, np.arange(0, 120, 2), np.arange(1, 120, 2))
    theirs = []
    for pair in pairs:
        left, right = (MinHash(num_perm=BANDS * ROWS) for _ in pair)
        for sketch, text in zip((left, right), pair, strict=True):
            sketch.update_batch([text[at : at + 5].encode() for at in range(len(text) - 4)])
        theirs.append(left.jaccard(right))
    exact = np.array([plain_jaccard(*pair) for pair in pairs])
    assert np.abs(ours - exact).mean() < 1.5 * np.abs(np.array(theirs) - exact).mean() + 0.01
    assert abs((ours - exact).mean()) < 0.02


@given(st.lists(st.integers(0, 4), max_size=30), st.lists(st.integers(0, 4), max_size=12))
def test_candidates_share_a_key(seen: list[int], held: list[int]) -> None:
    keys = np.array(seen, dtype=np.uint64)
    left, right = pairs_within(keys)
    assert all(one < other and seen[one] == seen[other] for one, other in zip(left, right, strict=True))
    assert set(right.tolist()) == {at for at, key in enumerate(seen) if key in seen[:at]}
    if seen:
        left, right = pairs_across(keys, np.array(held, dtype=np.uint64))
        assert all(seen[one] == held[other] for one, other in zip(left, right, strict=True))
        assert set(right.tolist()) == {at for at, key in enumerate(held) if key in seen}


def test_all_pairs_and_no_others_are_found() -> None:
    rng = random.Random(5)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(4, 60))) for _ in range(300)]
    for text in list(texts[:150]):
        words = text.split()
        for place in rng.sample(range(len(words)), rng.randint(1, max(1, len(words) // 8))):
            words[place] = rng.choice(WORDS)
        texts.append(" ".join(words))
    near = NearRows("classification")
    for line, text in enumerate(texts, 1):
        near.add(text_row(make(text, "a", line)))
    wanted = {row for row in range(len(texts)) if any(is_near(texts[one], texts[row]) for one in range(row))}
    got = near.later()
    assert set(got) <= wanted
    assert len(got) >= 0.97 * len(wanted) > 50
    assert all(is_near(texts[one], texts[other]) for other, one in got.items())
    one_band = band_keys(near._signatures(), 3)
    assert len(np.unique(one_band)) > 100


def test_other_answers_other_systems_and_copies_are_no_near_duplicates() -> None:
    text = "the invoice that I got on Monday names an amount that I never agreed to pay to anybody at all"
    rows = [make(text, "billing", 1), make(text + "!!", "billing", 2), make(text, "billing", 3)]
    rows += [make(text + " then", "other", 4), make(text + " now", "billing", 5, system="another rule")]
    item = found(rows, "near_duplicate")
    assert item is not None
    assert item.rows == (Source("f", 2),)
    assert "f:2 is near f:1" in item.message
    answer = "Please send us the number of the invoice and the day on which it came, and we shall look at it at once"
    free = [make(text, answer, 1), make(text + "!", answer + ".", 2), make(text + "?", "No.", 3)]
    item = found(free, "near_duplicate", "generation")
    assert item is not None
    assert item.rows == (Source("f", 2),)


def test_a_telling_word_parts_rows_of_free_text() -> None:
    """Answers that repeat what their input alone says, in words that others use, too, answer other questions."""
    case = "The patient of this report had an insertion of a {} pump into the {} arm, by an open approach, in {}."
    letter = (
        "Dear colleague, in {2} on the date that you asked for we put a {0} pump into the {1} arm of the patient."
    )
    said = list(itertools.product(("small", "large"), ("left", "right"), ("June", "July", "March")))
    rows = [(case.format(*words), letter.format(*words)) for words in said]
    free = [make(text, answer, line) for line, (text, answer) in enumerate(rows, 1)]
    assert found(free, "near_duplicate", "generation") is None

    def near(text: str, answer: str) -> bool:
        item = found([*free, make(text, answer, 99)], "near_duplicate", "generation")
        return item is not None and item.rows == (Source("f", 99),)

    text, answer = rows[0]
    assert near(text.replace("left", "lefft"), answer.replace("left", "lefft"))  # mistyped
    assert near(text.replace("June", "Mai"), answer)  # the answer is the same
    assert near(text.replace("June", "case 77123"), answer.replace("June", "case 77123"))  # a number of its own
    assert near(text.replace("report", "account"), answer.replace("Dear colleague", "Dear doctor"))
    assert not near(text.replace("small ", ""), answer.replace("small ", ""))  # another question, though new


def test_near_leaks_across_parts(tmp_path: Path) -> None:
    rng = random.Random(8)
    texts = [" ".join(rng.choices(WORDS, k=30)) for _ in range(120)]
    train = [make(text, "ab"[at % 2], at + 1, "train") for at, text in enumerate(texts)]
    test = [
        make(texts[6] + " please", "a", 1, "test"),
        make(texts[7], "b", 2, "test"),
        make("new one", "a", 3, "test"),
    ]
    report = check_examples([*train, *test], kind="classification", split=split_given(train, [], test))
    leaks = [(item.rows, item.severity) for item in report.findings if item.kind == "split_leak"]
    assert ((Source("test", 1),), "warning") in leaks
    assert len(leaks) == 2
    files = []
    for name, rows in (("train", train), ("test", test)):
        files.append(tmp_path / f"{name}.jsonl")
        files[-1].write_text(
            "".join(json.dumps({"text": row.messages[0].content, "label": row.target}) + "\n" for row in rows)
        )
    checked = check_files(files[0], test=[files[1]], kind="classification")
    assert [item.rows[0].line for item in checked.report.findings if item.kind == "split_leak"] == [2, 1]


def test_contamination(tmp_path: Path) -> None:
    rng = random.Random(9)
    material = [" ".join(rng.choices(WORDS, k=length)) for length in (40, 13, 10, 5)]
    plain, rows = tmp_path / "exam.txt", tmp_path / "exam.jsonl"
    plain.write_text("\n".join(material[:2]) + "\n")
    rows.write_text("".join(json.dumps({"question": text, "answer": "A"}) + "\n" for text in material[2:]))
    filler = [" ".join(rng.choices(WORDS, k=20)) for _ in range(60)]
    parts = material[0].split()
    inside = [
        "well " + " ".join(parts[10:23]) + " indeed",  # 13 words
        "now " + material[1].upper().replace(" ", ", ") + "!",
        "so " + material[2] + " then",
        material[3] + "?",
    ]
    outside = [
        "well " + " ".join(parts[10:22]) + " indeed",
        "so " + " ".join(material[2].split()[:9]),
        material[3] + " too",
    ]
    examples = [make(text, "ab"[at % 2], at + 1) for at, text in enumerate([*filler, *inside, *outside])]
    report = check_examples(examples, kind="classification", against=[plain, rows])
    item = next(item for item in report.findings if item.kind == "contamination")
    assert [row.line for row in item.rows] == [61, 62, 63, 64]
    assert f"f:61 shares with {plain}:1" in item.message
    formula = [make(f"{material[1]} number {at}", "a", at) for at in range(1, 21)]
    clean = check_examples(formula, kind="generation", against=[plain])
    assert "contamination" not in {item.kind for item in clean.findings}
    held = split_given(examples[:60], [], examples[60:])
    split = check_examples(examples, kind="classification", against=[plain, rows], split=held)
    assert "contamination" not in {item.kind for item in split.findings}
    with pytest.raises(DataError):
        read_material([tmp_path / "none.jsonl"])


def test_normalised() -> None:
    assert normalised("  Straße,\n«Nr. 5»! ") == "strasse nr 5"


def test_pairs_are_near_when_each_of_their_answers_is() -> None:
    """A model's judged answers to one prompt share an answer, A over B and B over C, and are no copies."""
    prompt = (
        "Name some ways in which a household can lower what it spends on energy in winter, with a reason for each."
    )
    long = "Seal the windows and doors, since draughts carry off most of the heat that a stove gives to a room. " * 3
    short, other = "Put on a pullover.", "Turn the heating down at night, when nobody sits in the room."
    pairs = [(long, short), (short, long), (long, other), (long.replace("stove", "heater"), short)]
    rows = [make(prompt, {"chosen": one, "rejected": two}, line) for line, (one, two) in enumerate(pairs, 1)]
    near = found(rows, "near_duplicate", "preference")
    assert near is not None
    assert [(row.line, first.line) for row, first in zip(near.rows, near.repeats, strict=True)] == [(4, 1)]
    judged = [make(prompt, {"completion": long, "desirable": one}, line) for line, one in enumerate((True, False), 1)]
    assert found(judged, "near_duplicate", "preference") is None
