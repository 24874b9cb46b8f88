"""The recommendation: the rules' choice, its runner-up, and what would change it."""

from __future__ import annotations

from burnish.advice.advisor import decide
from burnish.advice.changes import changes
from burnish.advice.facts import CHOICE_OF, Facts, Recommendation
from burnish.advice.rules import bad_data


def recommend(facts: Facts) -> Recommendation:
    """One recommendation with its reasons, its runner-up, and what would change it.

    Where the data have to be mended first, nothing need have been measured, and nothing else is looked at.
    Raises ValueError where no system but the majority was measured otherwise, or a value lies outside [0, 1].
    """
    if not facts.systems and (bad := bad_data(facts.data)):
        return Recommendation("fix_data", None, False, bad, None, None, ())
    _refuse(facts)
    found = decide(facts)
    second = decide(facts, without=frozenset({found.choice}))
    other = None if second.choice == found.choice else second
    tested = found.system is not None and CHOICE_OF.get(found.system.kind) == found.choice
    return Recommendation(
        choice=found.choice,
        system=None if found.system is None else found.system.name,
        tested=tested and found.system is not None and not found.system.forecast,
        reasons=found.reasons,
        runner_up=None if other is None else other.choice,
        runner_up_reason=None if other is None or not other.reasons else other.reasons[0],
        changes=changes(facts),
        left_out=found.left_out,
    )


def _refuse(facts: Facts) -> None:
    if all(system.kind == "majority" for system in facts.systems):
        raise ValueError("at least one system besides the majority must have been measured")
    for system in facts.systems:
        if not 0 <= system.low <= system.value <= system.high <= 1:
            raise ValueError(f"{system.name}: 0 <= low <= value <= high <= 1 does not hold")
