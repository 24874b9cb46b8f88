"""Text for people: numbers, shares, durations, and foreign text made safe to show.

Rows, labels and model answers are other people's text. They may hold escape codes, bidirectional
overrides or lone surrogates, so everything passes through `clean` before it reaches a terminal or a page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import datetime
from json import dumps
from math import isnan
from typing import Any

# C0 and C1 controls except tab and newline, DEL, line and paragraph separators, bidirectional marks,
# embeddings, overrides and isolates (Unicode TR9), byte-order mark, lone surrogates.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

SYSTEM_NOTES = {
    "majority": "always the most frequent answer",
    "prompt": "the base model, told what to do",
    "few_shot": "the base model, shown examples",
    "embedding_probe": "logistic regression on frozen vectors of the inputs",
    "rag": "the base model, given passages of the documents",
    "tuned": "the base model after fine-tuning",
}
METRIC_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro-F1",
    "micro_f1": "Micro-F1",
    "field_f1": "Field F1",
    "field_accuracy": "Field accuracy",
    "exact_match": "Exact match",
    "valid": "Valid answers",
    "token_f1": "Token F1",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
    "pattern_match": "Matches the pattern",
    "call_match": "Call match",
    "name_match": "Name match",
    "argument_f1": "Argument F1",
    "f1": "F1",
    "pair_accuracy": "Pair accuracy",
    "length_controlled_win_rate": "Length-controlled win rate",
}


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def clean(text: str) -> str:
    """Replace what could steer a terminal or reorder a line by its visible escape, e.g. ESC by \\x1b."""
    return _UNSAFE.sub(_visible, text.replace("\r\n", "\n"))


def one_line(text: str, limit: int = 2000) -> str:
    """`clean` text on one line of at most `limit` characters."""
    return cut(" ".join(clean(text).split()), limit)


def cut(text: str, limit: int) -> str:
    """Text of at most `limit` characters, ending in … when something was left out."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def cut_noted(text: str, limit: int) -> str:
    """Like `cut`, and says how long the whole is."""
    return text if len(text) <= limit else f"{cut(text, limit)} ({len(text):,} characters)"


def as_text(value: object, limit: int = 400) -> str:
    """A JSON value as people read it: strings as they are, the rest as compact JSON."""
    text = value if isinstance(value, str) else dumps(value, ensure_ascii=False, default=str)
    return cut_noted(clean(text), limit)


def as_dict(record: object) -> dict[str, Any]:
    """A record or a mapping as a plain dict; an empty one for None."""
    if is_dataclass(record) and not isinstance(record, type):
        return asdict(record)
    if hasattr(record, "_asdict"):  # a NamedTuple
        return dict(record._asdict())
    return dict(record) if isinstance(record, Mapping) else {}


def metric_name(name: str) -> str:
    """Readable name of a metric."""
    return METRIC_NAMES.get(name, name.rpartition(":")[2].replace("_", " ").capitalize())


def metric_phrase(name: str) -> str:
    """Name of a metric inside a sentence: exact match, macro-F1, ROUGE-L."""
    words = metric_name(name)
    return words[:1].lower() + words[1:] if words[1:2].islower() else words


def percent(share: float | None, digits: int = 1) -> str:
    """0.8512 -> 85.1%."""
    return "–" if share is None or isnan(share) else f"{100 * share:.{digits}f}%"


def points(difference: float | None) -> str:
    """A difference of shares in percentage points with its sign: 0.31 -> +31.0."""
    if difference is None:
        return "–"
    return f"{100 * difference:+.1f}".replace("-", "−")


def p_value(p: float | None) -> str:
    """A p-value without false precision."""
    if p is None:
        return "–"
    return "<\u00a00.001" if p < 0.001 else f"{p:.3f}"


def seconds(value: float | None) -> str:
    """A duration in the unit that fits: 0.0421 -> 42 ms, 75 -> 1 min 15 s."""
    if value is None or isnan(value):
        return "–"
    if value < 0.9995:
        return "0 s" if value <= 0 else "< 1 ms" if value < 0.001 else f"{1000 * value:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def count(value: float | None) -> str:
    """1234567 -> 1,234,567."""
    return "–" if value is None else f"{round(value):,}"


def plural(number: int, noun: str, many: str | None = None) -> str:
    """plural(1, "row") -> 1 row; plural(2000, "row") -> 2,000 rows."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def megabytes(value: float | None) -> str:
    """Memory in MB or GB."""
    if value is None:
        return "–"
    return f"{value / 1024:.1f} GB" if value >= 1024 else f"{value:.0f} MB"


def moment(iso: object) -> str:
    """2026-11-22T18:30:05+00:00 -> 2026-11-22 18:30 UTC; other text as it is."""
    try:
        time = datetime.fromisoformat(str(iso))
    except ValueError:
        return one_line(str(iso or ""), 40)
    return f"{time:%Y-%m-%d %H:%M} {time.tzname() or ''}".rstrip()
