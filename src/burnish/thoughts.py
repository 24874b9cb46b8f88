"""Answers that begin with a thought, <think>…</think>: learned as they are, judged by what comes after it."""

from __future__ import annotations

import re

_OPENS = re.compile(r"\s*<think>")
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)


def with_thought(thought: str, answer: str) -> str:
    """An answer with its thought in front, as reasoning models write it."""
    return f"<think>\n{thought.strip()}\n</think>\n\n{answer}"


def has_thought(text: str) -> bool:
    """Whether a text begins with a thought."""
    return _OPENS.match(text) is not None


def without_thought(text: str) -> str:
    """What comes after the thought that a text begins with; a text without one, or with one that is cut, as it is."""
    return _THOUGHT.sub("", text, count=1)


def is_cut_thought(text: str) -> bool:
    """Whether a text begins with a thought that does not end."""
    return has_thought(text) and _THOUGHT.match(text) is None
