"""Text made fit to be shown: personal data and secrets become placeholders such as [EMAIL]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from burnish.data.checks.names import FindNames
from burnish.data.checks.personal import PERSONAL
from burnish.data.checks.secret import SECRETS
from burnish.data.checks.spans import find_spans, replaced
from burnish.errors import Problem

SENSITIVE = SECRETS + PERSONAL


def masked(text: str) -> str:
    """The text with a placeholder in place of all personal data and secrets."""
    return replaced(text, find_spans(text, SENSITIVE))


def masker(names: FindNames | None) -> Callable[[str], str]:
    """`masked`, which with `names` masks names of persons, too."""
    if names is None:
        return masked

    def mask(text: str) -> str:
        known = find_spans(text, SENSITIVE)
        others = [one for one in names(text) if all(one.end <= span.start or span.end <= one.start for span in known)]
        return replaced(text, sorted([*known, *others]))

    return mask


def masked_problem(problem: Problem) -> Problem:
    """A Problem whose value, sentence and fix (which may quote the value) show nothing personal or secret."""
    return replace(problem, what=masked(problem.what), got=masked(problem.got), fix=masked(problem.fix))
