"""Text metrics against sacrebleu and rouge_score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import CHRF
from task_makers import config, example, measure, metric_of

from burnish.records import Parsed
from burnish.tasks import make_task
from burnish.tasks.generation import lcs_length, rouge_l, token_f1

VOCABULARY = ("the", "cat", "sat", "mats", "a", "ab", "abc", "Zürich", "日本", "...", "don't", "x_y", "12")
words = st.lists(st.sampled_from(VOCABULARY), max_size=12)
texts = words.map(" ".join) | st.text(max_size=30)
rows = st.lists(st.tuples(texts, texts | st.none()), min_size=1, max_size=8)


def task(pattern: str | None = None):
    return make_task(config("generation", pattern=pattern))


@given(rows)
@settings(max_examples=120, deadline=None)
def test_chrf_equals_sacrebleu(pairs: list[tuple[str, str | None]]) -> None:
    metric = metric_of(task(), "chrf")
    scored = [(example(truth), Parsed(answer)) for truth, answer in pairs]
    oracle = CHRF()
    wanted = oracle.corpus_score([a or "" for _, a in pairs], [[t for t, _ in pairs]]).score / 100
    assert measure(metric, scored) == pytest.approx(wanted, abs=1e-12)
    for (truth, answer), (e, parsed) in zip(pairs, scored, strict=True):
        sentence = oracle.sentence_score(answer or "", [truth]).score / 100
        assert float(metric.value(metric.counts(e, parsed))) == pytest.approx(sentence, abs=1e-12)


ascii_texts = st.text(st.characters(max_codepoint=127), max_size=40) | words.map(
    lambda found: " ".join(word for word in found if word.isascii())
)


@given(ascii_texts, ascii_texts)
@settings(max_examples=150, deadline=None)
def test_rouge_l_equals_rouge_score_for_ascii(truth: str, answer: str) -> None:
    wanted = RougeScorer(["rougeL"]).score(truth, answer)["rougeL"].fmeasure
    assert rouge_l(truth, answer) == pytest.approx(wanted, abs=1e-12)


def test_rouge_l_counts_letters_of_every_script() -> None:
    assert rouge_l("Ärger in Zürich", "ärger in zürich") == 1
    assert rouge_l("今日は雨", "今日は雪") == pytest.approx(3 / 4)
    assert rouge_l("привет мир", "привет") == pytest.approx(2 / 3)


@given(st.lists(st.sampled_from("abc"), max_size=70), st.lists(st.sampled_from("abc"), max_size=70))
@settings(max_examples=150, deadline=None)
def test_lcs_equals_the_table(left: list[str], right: list[str]) -> None:
    table = np.zeros((len(left) + 1, len(right) + 1), dtype=int)
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    assert lcs_length(left, right) == table[-1, -1]


def test_exact_match_is_about_words_not_white_space() -> None:
    metric = metric_of(task(), "exact_match")
    for answer, wanted in (("a  b\n", 1), ("a b", 1), ("A b", 0), ("ab", 0)):
        assert measure(metric, [(example(" a b"), Parsed(answer))]) == wanted


def test_pattern_is_about_the_whole_answer() -> None:
    made = task(r"\d+ items?\.")
    metric = metric_of(made, "pattern_match")
    for answer, wanted in (("3 items.", 1), (" 12 item. ", 1), ("about 3 items.", 0), ("3 items. ok", 0), ("", 0)):
        assert measure(metric, [(example("1 item."), made.parse(answer, example("1 item.")))]) == wanted
    assert r"regular expression: \d+ items?\." in made.messages(example("x"), full=True)[0].content
    assert "pattern_match" not in [m.name for m in task().metrics]


def test_text_is_free() -> None:
    made = task()
    assert made.constraint(example("x")) is None
    assert made.stratum(example("x")) is None
    assert made.tables([], []) == {}
    assert made.parse(" ", example("x")) == Parsed(None, "empty answer")


@pytest.mark.parametrize(
    ("truth", "answer", "value"),
    [
        ("Denver Broncos", "The Denver Broncos.", 1.0),
        ("the", "a", 1.0),  # nothing is left of either
        ("the", "Broncos", 0.0),
        ("308", "They gave up 308 points", 2 * 1 / (1 + 5)),
        ("two two one", "two one one", 2 * 2 / 6),
        ("rock-'n'-roll", "rock n roll", 0.0),  # punctuation goes, and what it parted is one word
        ("Ärger", "ärger", 1.0),
        ("x", "", 0.0),
    ],
)
def test_token_f1_as_squad_counts_it(truth: str, answer: str, value: float) -> None:
    assert token_f1(truth, answer) == pytest.approx(value)
    assert token_f1(answer, truth) == pytest.approx(value)
