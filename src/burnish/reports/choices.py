"""Preference runs in the report: which answer of a pair each system prefers, and by what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.reports.text import SYSTEM_NOTES, as_text, count, percent

ANSWER_CHARACTERS = 1200
# By what a judge prefers one answer (run.json's `judged_by`).
_SCORES = {
    "likelihood": "by the log-likelihood of the whole answer",
    "average": "by the log-likelihood a token",
    "implicit_reward": "by the implicit reward: what training added to the log-likelihood",
}
_NO_WORD = "takes the longer or the shorter answer, whichever was chosen more often in training"


def system_note(name: str, kind: str, judged_by: Mapping[str, Any]) -> str:
    """What a system is, in a few words."""
    if kind != "preference":
        return SYSTEM_NOTES.get(name, "")
    if name == "majority":
        return _NO_WORD
    score = _SCORES.get(str(judged_by.get(name)), "")
    return ", ".join(part for part in (SYSTEM_NOTES.get(name, ""), score) if part)


def is_choice(target: object) -> bool:
    """Whether an example's target is a pair of answers."""
    return isinstance(target, Mapping) and {"chosen", "rejected"} <= target.keys()


def both_answers(target: Mapping[str, Any]) -> tuple[str, str]:
    """The chosen and the rejected answer as shown."""
    chosen, rejected = (as_text(target[name], ANSWER_CHARACTERS) for name in ("chosen", "rejected"))
    return chosen or "(nothing)", rejected or "(nothing)"


def preference_words(value: object) -> str:
    """A judge's parsed value in words."""
    if not isinstance(value, Mapping) or not isinstance(value.get("margin"), int | float):
        return ""
    margin = float(value["margin"])
    if not margin:
        return "prefers neither"
    return f"prefers the {value.get('prefers')} answer by {abs(margin):.3g}"


def pair_facts(stats: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What to know of the pairs in the data: their number, and how often the chosen answer is the longer one."""
    facts = []
    pairs, alone = stats.get("pairs"), stats.get("unpaired")
    if isinstance(pairs, Mapping) and pairs.get("pairs"):
        share = percent(pairs["chosen_longer"] / pairs["pairs"], 0)
        facts.append(("Pairs", f"{count(pairs['pairs'])}; the chosen answer is the longer one in {share}"))
    if isinstance(alone, Mapping) and alone.get("rows"):
        share = percent(alone["desirable"] / alone["rows"], 0)
        facts.append(("Rows with one answer", f"{count(alone['rows'])}; {share} of them desirable"))
    return facts
