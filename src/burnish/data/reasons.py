"""Why each kind of finding matters, and the order in which findings are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from burnish.data.checks.masking import masked
from burnish.records import Finding

_SEVERITIES = ("error", "warning", "info")

WHY = {
    "answer_leak": "A model that can copy the answer from the input learns to copy, and has nothing to copy in use.",
    "chat_marker": "A model learns to write the markers, and one that ends a turn cuts the answer off.",
    "class_imbalance": "A model that always says the largest class looks good by accuracy.",
    "conflicting_answers": "No model can give two answers to one question, so every metric is capped.",
    "contamination": "A result on test material that was trained on says how well it was remembered.",
    "contradictory_pair": "No model can follow two judgements that exclude each other.",
    "coverage_gap": "A model is asked about what it was not shown, and the test does not measure it.",
    "distribution_shift": "A result on rows unlike those met in use says little about use.",
    "empty_field": "A model learns from an empty field to answer nothing, or to answer from nothing.",
    "encoding_damage": "A model learns to write the damage, and damaged words do not match the ones met in use.",
    "equal_pair": "There is no preference to learn in it, and no system can be right about it.",
    "exact_duplicate": "Copies count twice in training and in the metric.",
    "html": "A model learns to write markup, and spends its length on it.",
    "inconsistent_format": "A model cannot know which of two styles is wanted, so exact matches are lost by chance.",
    "invalid_tool_call": "A model that learns arguments a tool refuses makes calls that fail.",
    "label_spelling": "To a model two spellings are two answers, each with a part of the rows.",
    "length_bias": "A model can learn to prefer a length instead of a quality.",
    "mixture_leak": "A result on inputs that were trained on proves nothing.",
    "near_duplicate": "Nearly equal rows count as several in training and in the metric.",
    "personal_data": "What is trained on can be recalled word for word, and the law asks for a reason to keep it.",
    "rare_class": "A class with few rows is neither learned nor measured.",
    "refusal": "A model learns to refuse what it is meant to answer.",
    "schema_violation": "A model learns to write what the reader of its answers refuses.",
    "secret": "What is trained on can be recalled word for word: a key in the data is a key given away.",
    "split_leak": "A result on rows that were trained or tuned on proves nothing.",
    "suspect_label": "Wrong labels are learned as if they were right, and make right answers count as wrong.",
    "too_few": "Few rows teach little, and make every interval wide.",
    "truncated": "What is cut off is not learned; a model that learns cut answers does not finish its own.",
}


def told(findings: Iterable[Finding], places: int | None = None) -> tuple[Finding, ...]:
    """The findings, masked, with the reason of their kind where they have none of their own, the gravest first.

    places: at most so many of each.
    """
    reasoned = (
        replace(
            finding,
            message=masked(finding.message),
            why=finding.why or WHY.get(finding.kind, ""),
            rows=finding.rows[:places],
            repeats=finding.repeats[:places],
        )
        for finding in findings
    )
    return tuple(sorted(reasoned, key=lambda finding: _SEVERITIES.index(finding.severity)))
