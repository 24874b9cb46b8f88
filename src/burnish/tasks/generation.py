"""Generation: the answer is free text, compared with a reference."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from burnish.records import Constraint, Example, Json, Kind, Message, Parsed
from burnish.tasks.base import Floats, Metric
from burnish.tasks.metrics import CountMetric, divide, mean_metric, rate_metric
from burnish.tasks.prompts import conversation
from burnish.thoughts import is_cut_thought, without_thought


@dataclass(frozen=True)
class Generation:
    """See tasks/base.py:Task. pattern: regular expression that the whole answer should match, or None."""

    name: str
    instruction: str
    pattern: str | None
    metrics: tuple[Metric, ...]
    kind: Kind = field(default="generation", init=False)

    def messages(self, example: Example, *, full: bool, shots: Sequence[Example] = ()) -> tuple[Message, ...]:
        system = self.instruction.strip()
        if full:
            system += "\n\nAnswer with the text alone, without any introduction or comment."
            if self.pattern:
                system += f" It must match this regular expression: {self.pattern}"
        return conversation(system, example, shots, self.answer)

    def answer(self, example: Example) -> Message:
        return Message("assistant", str(example.target))

    def constraint(self, example: Example) -> Constraint | None:
        return None

    def parse(self, text: str, example: Example) -> Parsed:
        if is_cut_thought(text):
            return Parsed(None, "the thought does not end")
        stripped = without_thought(text).strip()
        return Parsed(stripped) if stripped else Parsed(None, "empty answer")

    def stratum(self, example: Example) -> str | None:
        return None

    def tables(self, examples: Sequence[Example], parsed: Sequence[Parsed]) -> dict[str, Json]:
        return {}


def _texts(example: Example, parsed: Parsed) -> tuple[str, str]:
    return without_thought(str(example.target)), parsed.value if parsed.value is not None else ""


def _exact(example: Example, parsed: Parsed) -> bool:
    truth, answer = _texts(example, parsed)
    return truth.split() == answer.split()


_ORDER = 6
_BETA_SQUARED = 4.0


def _chrf_counts(example: Example, parsed: Parsed) -> Floats:
    """[answer n-grams, reference n-grams, common n-grams] for n = 1 … 6, white space left out: 18 numbers."""
    truth, answer = ("".join(text.split()) for text in _texts(example, parsed))
    counts = np.zeros((_ORDER, 3))
    for n in range(1, _ORDER + 1):
        wanted = Counter(truth[i : i + n] for i in range(len(truth) - n + 1))
        found = Counter(answer[i : i + n] for i in range(len(answer) - n + 1))
        # An order that the reference is too short for does not count against the answer.
        counts[n - 1] = (found.total() if wanted else 0, wanted.total(), (wanted & found).total())
    return counts.ravel()


def _chrf_value(sums: Floats) -> Floats:
    """F-beta of precision and recall averaged over the orders that both sides have."""
    by_order = np.asarray(sums).reshape(*np.shape(sums)[:-1], _ORDER, 3)
    found, wanted, common = by_order[..., 0], by_order[..., 1], by_order[..., 2]
    usable = (found > 0) & (wanted > 0)
    orders = usable.sum(axis=-1)
    precision = divide(np.where(usable, divide(common, found), 0).sum(axis=-1), orders)
    recall = divide(np.where(usable, divide(common, wanted), 0).sum(axis=-1), orders)
    return divide((1 + _BETA_SQUARED) * precision * recall, _BETA_SQUARED * precision + recall)


def chrf() -> CountMetric:
    """Corpus chrF: character 1- to 6-grams, beta 2 (Popović 2015, eq. 1), as sacrebleu computes it, from 0 to 1."""
    return CountMetric("chrf", False, _chrf_counts, _chrf_value)


# Words are runs of letters and digits; Chinese, Japanese and Korean characters stand alone.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+"
)


def lcs_length(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004): one pass over `right`.

    A zero bit i of `row` says that the length grows at left[i].
    """
    positions: dict[str, int] = {}
    for index, word in enumerate(left):
        positions[word] = positions.get(word, 0) | 1 << index
    every = (1 << len(left)) - 1
    row = every
    for word in right:
        common = row & positions.get(word, 0)
        row = ((row + common) | (row - common)) & every
    return len(left) - row.bit_count()


def rouge_l(truth: str, answer: str) -> float:
    """ROUGE-L F1 of two texts (Lin 2004, section 3.1, with beta 1).

    Words are lower-cased without stemming. Equals rouge_score's rougeL for ASCII; unlike it, letters of every
    script count.
    """
    wanted, found = _WORD.findall(truth.lower()), _WORD.findall(answer.lower())
    if not wanted or not found:
        return 0.0
    return 2 * lcs_length(wanted, found) / (len(wanted) + len(found))


_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def token_f1(truth: str, answer: str) -> float:
    """F1 over the words of two short answers (Rajpurkar et al. 2016, section 6.1), as SQuAD's evaluation counts it.

    Words are lower-cased, without ASCII punctuation and without a, an, the; each counts as often as both have it.
    """
    wanted, found = _plain_words(truth), _plain_words(answer)
    if not wanted or not found:
        return float(wanted == found)
    return 2 * (Counter(wanted) & Counter(found)).total() / (len(wanted) + len(found))


def _plain_words(text: str) -> list[str]:
    return _ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def generation_metrics(pattern: str | None) -> tuple[Metric, ...]:
    """chrf, exact_match (white space normalised), token_f1 and rouge_l (means of the answers' F), and with a
    pattern pattern_match (the whole answer matches)."""
    metrics: tuple[Metric, ...] = (
        chrf(),
        rate_metric("exact_match", _exact),
        mean_metric("token_f1", lambda example, parsed: token_f1(*_texts(example, parsed))),
        mean_metric("rouge_l", lambda example, parsed: rouge_l(*_texts(example, parsed))),
    )
    if pattern is None:
        return metrics
    compiled = re.compile(pattern)

    def matches(example: Example, parsed: Parsed) -> bool:
        return parsed.value is not None and compiled.fullmatch(parsed.value) is not None

    return (*metrics, rate_metric("pattern_match", matches))
