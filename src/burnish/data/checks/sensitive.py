"""The findings personal_data and secret. What was found is never shown: only of what sort it is, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from burnish.data.checks.base import TextRow, rows_text
from burnish.data.checks.names import FindNames
from burnish.data.checks.personal import PERSONAL
from burnish.data.checks.secret import GIVEN, KNOWN
from burnish.data.checks.spans import find_spans
from burnish.data.places import Places
from burnish.records import Finding

_WORDS = {
    "EMAIL": "e-mail addresses",
    "PHONE": "phone numbers",
    "CARD": "card numbers",
    "IBAN": "account numbers (IBAN)",
    "SSN": "US social security numbers",
    "IP": "IP addresses",
    "NAME": "names of persons",
}


class SensitiveCheck:
    """Counts rows with personal data, with keys of a known form, and with passwords or keys that are given.

    names: finds names of persons; None: they are not looked for.
    """

    def __init__(self, names: FindNames | None = None) -> None:
        self.names = names
        self.personal = Places()
        self.sorts: Counter[str] = Counter()  # rows by sort of personal data
        self.known = Places()
        self.given = Places()

    def add(self, row: TextRow) -> None:
        text, source = row.whole, row.example.source
        spans = find_spans(text, PERSONAL)
        if self.names is not None:
            spans += self.names(text)
        if spans:
            self.personal.add(source)
            self.sorts.update({span.name for span in spans})
        if find_spans(text, KNOWN):
            self.known.add(source)
        elif find_spans(text, GIVEN):
            self.given.add(source)

    def findings(self) -> Iterator[Finding]:
        if self.personal.count:
            sorts = ", ".join(f"{_WORDS[sort]} ({count:,})" for sort, count in self.sorts.most_common())
            yield Finding(
                "personal_data",
                "warning",
                self.personal.count,
                f"{rows_text(self.personal.count)} with personal data: {sorts}",
                "Replace it by placeholders (burnish check --fix redact), unless you may and must train on it.",
                tuple(self.personal.first),
            )
        if self.known.count:
            yield Finding(
                "secret",
                "error",
                self.known.count,
                f"{rows_text(self.known.count)} with keys, tokens or private keys",
                "Revoke them at their issuer, then replace them: burnish check --fix redact.",
                tuple(self.known.first),
            )
        if self.given.count:
            yield Finding(
                "secret",
                "warning",
                self.given.count,
                f"{rows_text(self.given.count)} with what looks like a password or a key that is given",
                "Look at them; replace what is real (burnish check --fix redact), and change it where it is in use.",
                tuple(self.given.first),
            )
