"""refusal: answers that refuse, or speak as an assistant does about itself, and empty phrases around answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from burnish.data.checks.base import TextRow, rows_text
from burnish.data.checks.spans import has_any
from burnish.data.places import Places
from burnish.records import Finding

USUAL = 0.2  # of the answers: where more refuse, refusing is what is to be learned
_HEAD = 300  # characters in which a refusal shows

_SORRY = r"(?:(?:i am|i['’]m) (?:\w+ )?sorry|sorry|unfortunately|i apologi[sz]e|my apologies|apologies)"
_CANNOT = r"(?:can(?:no|\s?['’])t|cannot|(?:am|['’]m) (?:unable|not able)|(?:won['’]t|will not) be able|must decline)"
_HELP = (
    r"(?:help|assist|provide|answer|fulfil|comply|do|create|generate|write|give|continue|support|discuss|engage|share"
    r"|offer|complete|process|respond|access|browse|produce|participate)"
)
_MODEL = r"(?:ai|a\.i\.|artificial intelligence|(?:large )?language model)"
_REFUSAL = re.compile(
    "|".join(
        (
            rf"^\W*{_SORRY}\b[^.!?\n]{{0,80}}[,.]? ?\b(?:i|we) ?{_CANNOT}",
            rf"^\W*(?:i|we) ?{_CANNOT}(?: to)? {_HELP}\b",
            rf"^\W*(?:i['’]m|i am) sorry,? (?:but )?(?:i|as|that|this|we)\b[^.!?\n]{{0,80}}{_CANNOT}",
            rf"\bas an? {_MODEL}\b",
            rf"\b(?:i am|i['’]m) (?:just |only )?an? {_MODEL}\b",
            r"\b(?:against|violates?) (?:my|our|openai['’]?s?) (?:\w+ )?(?:programming|guidelines|polic(?:y|ies))\b",
            r"\bmy (?:knowledge cut-?off|training data)\b",
        )
    ),
    re.IGNORECASE,
)
_PHRASE = re.compile(
    r"^\W*(?:sure(?: thing)?|certainly|of course|absolutely|great question|good question)\s?[!,.]"
    r"|\bi hope (?:this|that|it) helps\b[^\n]{0,40}$",
    re.IGNORECASE,
)
_GATE = has_any(
    "sorry", "apolog", "unfortunately", "can't", "can’t", "cannot", "can not", "unable", "not able", "language model",
    "n ai", "a.i.", "artificial", "decline", "against", "violate", "cut-off", "cutoff", "training data", "sure",
    "certainly", "of course", "absolutely", "question", "hope", "won't", "won’t", fold=True,
)  # fmt: skip


def is_refusal(answer: str) -> bool:
    """Whether an answer begins by refusing, or speaks of itself as a language model."""
    return _REFUSAL.search(answer[:_HEAD]) is not None


class RefusalCheck:
    """Answers that refuse, and answers wrapped in empty phrases. For free text only."""

    def __init__(self) -> None:
        self.rows = 0
        self.refused = Places()
        self.phrases = Places()

    def add(self, row: TextRow) -> None:
        self.rows += 1
        if not row.answers or not _GATE(row.answers[0]):
            return
        answer = row.answers[0]
        if is_refusal(answer):
            self.refused.add(row.example.source)
        elif _PHRASE.search(answer):
            self.phrases.add(row.example.source)

    def findings(self) -> Iterator[Finding]:
        count = self.refused.count
        if count:
            yield Finding(
                "refusal",
                "info" if count > USUAL * self.rows else "warning",
                count,
                f"{rows_text(count)} ({count / self.rows:.1%}) with an answer that refuses, or speaks as a model",
                "Write the answers that are wanted, or remove the rows (burnish check --fix drop); keep them if the "
                "model is to refuse there.",
                tuple(self.refused.first),
            )
        count = self.phrases.count
        if count and count <= USUAL * self.rows:
            yield Finding(
                "refusal",
                "info",
                count,
                f"{rows_text(count)} ({count / self.rows:.1%}) with phrases around the answer (“Sure!”, “I hope this "
                "helps”) that others do without",
                "Remove the phrases, unless they are wanted.",
                tuple(self.phrases.first),
            )
