"""What counts as a word, in every script: for search by words and for the length of passages."""

from __future__ import annotations

import re

# Scripts that are written without spaces: Thai, Lao, Burmese, Khmer, Japanese, Chinese. Their characters are words.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORD.findall(text.casefold())
