"""The words that tell some texts from others: how clusters and shifts get their names."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from burnish.data.checks.masking import masked

_WORD = re.compile(r"[^\W\d_]{2,}")
LEAST_TEXTS = 2
MARKED = 1.5  # times as often as in all texts: below that a word marks nothing


def text_words(text: str) -> set[str]:
    """The different words of a text, in lower case, of two letters and more; personal data is left out."""
    return set(_WORD.findall(masked(text).lower()))


def distinctive(texts: Sequence[str], others: Sequence[str], count: int) -> list[str]:
    """Up to `count` words that `texts` use more than all texts together do, the most telling first.

    A word's score is p log(p / q), with p and q the shares of texts that hold it: its part of the divergence
    between the two (Kullback and Leibler 1951). Common words cancel out; a word of one text tells nothing.
    """
    here = Counter(word for text in texts for word in text_words(text))
    there = Counter(word for text in others for word in text_words(text))
    total = len(texts) + len(others)
    scores: dict[str, float] = {}
    for word, number in here.items():
        share, lift = number / len(texts), number / len(texts) / ((number + there[word]) / total)
        if number >= min(LEAST_TEXTS, len(texts)) and lift >= MARKED:
            scores[word] = share * math.log(lift)
    ranked = sorted(scores, key=lambda word: (-scores[word], -len(word), word))
    return ranked[:count]
