"""Which checks on text a kind of task has."""

from __future__ import annotations

from burnish.data.checks.base import Check
from burnish.data.checks.chat_markers import ChatMarkerCheck
from burnish.data.checks.cut import CutCheck
from burnish.data.checks.encoding import EncodingCheck
from burnish.data.checks.leaks import LeakCheck
from burnish.data.checks.markup import MarkupCheck
from burnish.data.checks.names import FindNames
from burnish.data.checks.refusals import RefusalCheck
from burnish.data.checks.sensitive import SensitiveCheck
from burnish.data.checks.styles import StyleCheck
from burnish.records import Kind


def text_checks(kind: Kind, names: FindNames | None = None) -> list[Check]:
    """New checks for one pass. Refusals are not looked for in preferences: there they may be the better answer."""
    checks: list[Check] = [SensitiveCheck(names), EncodingCheck(), MarkupCheck(), ChatMarkerCheck()]
    checks += [LeakCheck(kind), StyleCheck(kind)]
    if kind in ("generation", "preference"):
        checks.append(CutCheck())
    if kind == "generation":
        checks.append(RefusalCheck())
    return checks
